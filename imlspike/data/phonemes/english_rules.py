"""Letter-to-sound rules for English words that no dictionary has: names, mostly.

A rule is `left <letters> right = phones`; of the rules for the letters at hand the first one whose
surroundings fit is taken. The surroundings are regular expressions, in which `_` is the edge of the word, and
V, C and M stand for a vowel, a consonant, and an ending before which an e is mute (make, makes, maker). The
rules are our own, a small set in the way of Elovitz et al. (NRL report 7948, 1976): readable, rarely silent,
often wrong where English is.
"""

import re
from functools import cache

_RULES = """
_ <a> _ = AH
<air> = EH R
<are> _ = EH R
<augh> = AO
<au> = AO
<aw> = AO
<ay> = EY
<ai> = EY
<alk> = AO K
<all> = AO L
w <ar> = AO R
<ar> = AA R
w <a> C = AA
<ange> = EY N JH
<ation> = EY SH AH N
V C+ <able> _ = AH B AH L
V C+ <age> _ = IH JH
V C+ <al> _ = AH L
<a> CM = EY
<ae> = IY
<a> _ = AH
<a> = AE
m <b> _ =
<bb> = B
<b> = B
_ <chr> = K R
<ch> = CH
<ck> = K
<cc> [eiy] = K S
<cc> = K
<ci> [ao] = SH
s <c> [eiy] =
<c> [eiy] = S
<c> = K
<dge> = JH
<dg> = JH
<dd> = D
<d> = D
_ C+ <e> _ = IY
[dt] <ed> _ = AH D
([pkfsx]|[sc]h) <ed> _ = T
V C+ <ed> _ = D
([sxzcg]|[sc]h) <es> _ = AH Z
V C+ <es> _ = Z
V C* <e> _ =
V C* <e> ly_ =
V C* <e> ment =
<eigh> = EY
<ear> = IH R
<eer> = IH R
<ea> = IY
<ee> = IY
<ei> = IY
<ey> _ = IY
<ey> = EY
<ew> = UW
<eu> = Y UW
<er> = ER
<e> CM = IY
V C+ <e> [nlt]_ = AH
<e> = EH
<ff> = F
<f> = F
<gg> = G
_ <gn> = N
<gn> _ = N
_ <gh> = G
<gh> =
<ge> _ = JH
<gu> [eiy] = G
<g> [eiy] = JH
<g> = G
V <h> (C|_) =
<h> = HH
_ <i> _ = AY
<igh> = AY
<ing> _ = IH NG
<ique> _ = IY K
_ C+ <ie> _ = AY
_ C+ <ied> _ = AY D
<ied> _ = IY D
<ies> _ = IY Z
<ier> _ = IY ER
<ie> = IY
<ir> = ER
<ild> _ = AY L D
<ind> _ = AY N D
<ious> _ = IY AH S
V C+ <ive> _ = IH V
<i> CM = AY
<i> [aou] = IY
<i> _ = IY
<i> = IH
<j> = JH
_ <kn> = N
<kk> = K
<k> = K
C <le> _ = AH L
C <les> _ = AH L Z
<ll> = L
<l> = L
<mm> = M
<m> = M
<ng> [lr] = NG G
<ng> (C|_) = NG
<nk> = NG K
<nn> = N
<n> = N
<ought> = AO T
<ough> = OW
<ook> = UH K
<oo> = UW
<oi> = OY
<oy> = OY
<oa> = OW
<ould> = UH D
V C+ <ous> _ = AH S
<our> = AO R
<ou> = AW
<ow> _ = OW
<own> _ = AW N
<ow> = AW
<oe> _ = OW
w <or> = ER
V C+ <or> _ = ER
<or> = AO R
<old> = OW L D
V C+ <on> _ = AH N
<o> CM = OW
<o> _ = OW
<o> = AA
<ph> = F
_ <ps> = S
_ <pn> = N
<pp> = P
<p> = P
<que> _ = K
<qu> = K W
<q> = K
<rh> = R
<rr> = R
<r> = R
<sch> = S K
<sh> = SH
<ssion> = SH AH N
V <sion> = ZH AH N
<sion> = SH AH N
<ss> = S
V <s> V = Z
[ui] <s> _ = S
([bdglmnrvw]|V) <s> _ = Z
<s> = S
<tion> = SH AH N
<tch> = CH
<th> = TH
<ture> _ = CH ER
<tious> = SH AH S
<ti> [ao] = SH
<tt> = T
<t> = T
<ur> = ER
<ue> _ = UW
<ui> = UW
<u> CM = UW
<u> CV = UW
<u> _ = UW
<u> = AH
<v> = V
_ <wr> = R
<wh> = W
V <w> (C|_) =
<w> = W
_ <x> = Z
<x> = K S
_ <y> V = Y
_ C+ <y> _ = AY
<y> CM = AY
<y> _ = IY
<y> V = Y
<y> = IH
<zz> = Z
<zh> = ZH
<z> = Z
"""
_SETS = {"V": "[aeiouy]", "C": "[^aeiouy_]", "M": "(e_|es_|ed_|er_|ers_|ing_|ings_)"}


@cache
def _rules() -> dict[str, list[tuple[str, re.Pattern, re.Pattern, list[str]]]]:
    """Letter to the rules that begin with it: letters, what stands left of them, what right, phones."""
    rules: dict[str, list] = {}
    for line in _RULES.strip().splitlines():
        left, letters, right, phones = re.fullmatch(r"(.*)<(.+)>(.*)=(.*)", line).groups()
        left, right = ("".join(_SETS.get(c, c) for c in side if c != " ") for side in (left, right))
        rule = (letters, re.compile(f"(?:{left})$"), re.compile(right), phones.split())
        rules.setdefault(letters[0], []).append(rule)
    return rules


def letters_to_sound(word: str) -> list[str]:
    """The phones of a word of the letters a to z, its first vowel stressed.

    >>> letters_to_sound("zorbing"), letters_to_sound("plake")
    (['Z', 'AO1', 'R', 'B', 'IH0', 'NG'], ['P', 'L', 'EY1', 'K'])
    """
    phones, place = [], 0
    while place < len(word):
        letters, sounds = _first_fitting(word, place)
        phones += sounds
        place += len(letters)
    stress = "1"
    for number, phone in enumerate(phones):
        if phone[0] in "AEIOU":
            phones[number], stress = phone + stress, "0"
    return phones


def _first_fitting(word: str, place: int) -> tuple[str, list[str]]:
    """Letters and phones of the first rule that fits a place in a word; a letter's last rule always does."""
    for letters, left, right, phones in _rules()[word[place]]:
        if word.startswith(letters, place) and left.search("_" + word[:place]):
            if right.match(word[place + len(letters) :] + "_"):
                return letters, phones
    raise AssertionError(f"no rule for {word[place]!r}")
