"""The decisions of Podpulse, as pure functions and values.

This package opens no socket, reads no clock, starts no thread, counts no metric and writes no log line. The package
`controller` does all of this, and passes the time and the answers in. import-linter checks that `controller` imports
this package, and never the reverse. `CONTRIBUTING.md` shows the steps of the data, and their modules.
"""
