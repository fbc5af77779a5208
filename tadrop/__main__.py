"""python -m tadrop VERB: see tadrop/app/command.py."""

from tadrop.app.command import main

if __name__ == "__main__":
    main()
