"""Make a finished run of one engine the other's too: DVC's with `--to dvc`, Snakemake's with `--to snakemake`.

No stage is run and no output changes. Outputs that are not today's (of other parameters or other code, made from other
files than those that are there now, or edited by hand) are refused: they are named, with what makes them again.
"""

from _stage import clean_exit, stage_parser


def main() -> None:
    parser = stage_parser(__doc__)
    parser.add_argument("--to", choices=("dvc", "snakemake"), required=True, help="the engine that takes over")
    arguments = parser.parse_args()
    with clean_exit(arguments.traceback):
        from afigan.config import load_params

        params = load_params("params.yaml")  # where the engines look for it
        import _adoption

        print(f"adopt: {_adoption.to_dvc(params) if arguments.to == 'dvc' else _adoption.to_snakemake(params)}")


if __name__ == "__main__":
    main()
