"""The job that compacts logs or JSON lines to a table; a file of its own for spark-submit."""

from chatpb.spark._job import main

if __name__ == "__main__":
    main()
