"""What every command says of the exit codes at the end of its `--help`."""

EPILOG = """
Exit codes: 0 all is well; 1 the answer is no: the fleet is not well, an update was rejected, an
entity is not there, did not end in success or did not go, rules or keys differ, nothing was
changed; 2 the command line is wrong; 3 the doctor warns; 65 a file that was to be sent or imported
is wrong; 69 the server cannot be used, or no worker reads an update; 70 a bug, please report it; 74
the output cannot be written; 78 the configuration cannot work, or is not the one that the
deployment has; 124 the time to wait is up; 130 stopped before everything was looked at; 141 the
output is not read to its end, as by head."""
