"""Show trained models in a page: speak into it, see words, spikes and energy; type a text, hear it.

imlspike demo
imlspike demo --model exp/quick --port 9000
imlspike demo --static page
"""

import argparse
import tempfile
from pathlib import Path

import imlspike
from imlspike.bin._command import EPILOG, command, number, teller
from imlspike.bin._files import output_dir

PRETRAINED = Path(imlspike.__file__).parent.parent / "pretrained"
SHOWN = ("recogniser", "streaming", "voice", "vocoder")  # of it


def parse(argv) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(
        prog="imlspike demo",
        description="Export models and show them in a page that computes in the browser, by onnxruntime-web. "
        "Without --static it is served until Ctrl-C.",
        epilog=EPILOG,
    )
    add = parser.add_argument
    told = "a recognizer, one of streams, a voice and its vocoder (default: those in pretrained/)"
    add("--model", nargs="+", metavar="MODEL", help=told)
    add("--static", type=output_dir, metavar="DIR", help="write the page there, for any web server, and end")
    add("--port", type=number(0, 65535, int), default=8000, help="0: a free one (default %(default)s)")
    told = "who may connect: 0.0.0.0 is everybody (default %(default)s). Microphones need https then"
    add("--host", default="127.0.0.1", help=told)
    told = "its files, where npm can't fetch them (its package, unpacked, or the package's dist/)"
    add("--onnxruntime-web", type=Path, metavar="DIR", help=told)
    args = parser.parse_args(argv)
    there = [str(file) for name in SHOWN if (file := PRETRAINED / f"{name}.zip").is_file()]
    args.model = args.model or there
    if not args.model:
        parser.error("--model: which? (without a clone of the project there is no folder pretrained/)")
    return args


@command
def main(argv=None) -> int:
    """Write the page, and serve it until interrupted."""
    args, say = parse(argv), teller("demo")
    from imlspike.demo.build import build
    from imlspike.demo.server import TEXT_URL, Server
    from imlspike.inference import Bundle

    bundles = [Bundle.load(model) for model in args.model]
    if args.static:
        build(args.static, bundles, args.onnxruntime_web, None, say)
        say(f"{args.static}: the page; any web server shows it, as python3 -m http.server -d {args.static}")
        return 0
    with tempfile.TemporaryDirectory(prefix="imlspike-demo-") as parent:
        folder = Path(parent) / "page"
        with Server(folder, args.host, args.port) as server:  # a port that is taken is told first
            server.speech = build(folder, bundles, args.onnxruntime_web, TEXT_URL, say)
            print(f"demo: {server.address} (Ctrl-C ends it)", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                return 0
    return 0
