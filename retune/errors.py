"""The few errors that a caller reacts to, drawn as a tree. Each carries the exit code of its kind.

    RetuneError
    ├── Refused       1  the answer is no: refused data, failed gate, nothing found
    ├── WrongUse      2  a wrong word, column, file or parameter: mend the call and try again
    └── Broken        3  there is no answer: a stage crashed, a check could not run, a store is away

Every message says what was wrong, the value, and what to do. No traceback is shown for any of these.
"""


class RetuneError(Exception):
    exit_code = 3


class Refused(RetuneError):
    exit_code = 1


class WrongUse(RetuneError):
    exit_code = 2


class Broken(RetuneError):
    exit_code = 3
