"""Leaves out the utterances of speakers that aren't in the training set: no voice is trained for them.

known_speakers.py TRAIN DATA_DIR...
"""

import sys

from imlspike.data.kaldi import read_data_dir, read_excluded, write_data_dir


def main(train, *folders):
    known = {utterance.speaker for utterance in read_data_dir(train)}
    for folder in folders:
        utterances = read_data_dir(folder)
        kept = [utterance for utterance in utterances if utterance.speaker in known]
        out = {u.id: f"speaker {u.speaker} is not in {train}" for u in utterances if u.speaker not in known}
        if not kept:
            sys.exit(
                f"{folder}: none of its speakers is in {train}, so none has a voice; take another "
                "set, or cut one out of the training set with --hold_out_from"
            )
        if out:
            write_data_dir(folder, kept, read_excluded(folder) | out)
            print(f"{folder}: {len(kept)} utterances, {len(out)} left out (speakers not in {train})")


main(*sys.argv[1:])
