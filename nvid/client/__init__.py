"""The command line. This package imports the standard library only, so that ``nvid status``
answers within a tenth of a second; commands that need more import it when they run."""
