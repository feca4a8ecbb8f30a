"""Open the page of results in a browser where there is a desktop; elsewhere, say where the page is."""

import os
import sys
import webbrowser

from _stage import clean_exit, stage_parser


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--no-browser", action="store_true", help="only say where the page is")
    arguments = parser.parse_args()
    with clean_exit(arguments.traceback):
        from _closing import PAGE

        if not PAGE.is_file():
            raise ValueError(f"{PAGE} does not exist: `make repro` creates it")
        uri = PAGE.resolve().as_uri()
        print(f"report: {uri}")
        if desktop() and not arguments.no_browser:
            webbrowser.open(uri)


def desktop() -> bool:
    """Return True if somebody sits at a terminal of a machine with windows."""
    windows = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(windows) and sys.stdout.isatty()


if __name__ == "__main__":
    main()
