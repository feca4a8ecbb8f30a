"""Commands: `afigan NAME`, and from a checkout `workflow/scripts/NAME.py` too.

Every module has `add_arguments(parser)` and `run(arguments)`; its docstring is the text of --help. None imports
anything heavy before it runs. `params` is `compose.py` among the scripts.
"""

COMMANDS = ("predict", "export", "status", "params")
