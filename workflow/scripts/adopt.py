"""Make a finished run of one engine the other's too: DVC's with `--to dvc`, Snakemake's with `--to snakemake`.

No stage is run and no output changes. Stale outputs are refused: those of other parameters or other code, those that
were created from other files than the current ones, and those edited by hand. They are named, with the command that
creates them again.
"""

from _stage import clean_exit, stage_parser


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--to", choices=("dvc", "snakemake"), required=True, help="the engine that takes over")
    arguments = parser.parse_args()
    with clean_exit(arguments.traceback):
        from afigan.params.loading import load_params

        params = load_params("params.yaml")  # the engines read it here
        from workflow.adopt import adoption

        print(f"adopt: {adoption.to_dvc(params) if arguments.to == 'dvc' else adoption.to_snakemake(params)}")


if __name__ == "__main__":
    main()
