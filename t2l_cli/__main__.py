"""`python -m t2l_cli` is `t2l`."""

from t2l_cli.cli.app import main

if __name__ == "__main__":
    main()
