"""What a tracker promises."""

from typing import Final

from .form import Promises

TRACKER: Final[Promises] = {
    "T2-opens-nothing": (
        "The factory makes a Tracker, and writes nothing where it is called.",
        "open and write in `begin`; in the factory look at the options, and raise UserError for what cannot work",
    ),
    "T3-takes-a-run": (
        "begin gives a text or None, and scalars, picture and end take what they are given.",
        "see the error; begin must return what the run is found by, or nothing",
    ),
    "T4-goes-on": (
        "Begun again with `earlier`, by another object, it takes what is new.",
        "return from `begin` by what the place is found, and open that where run.earlier is not None",
    ),
    "T5-takes-any-name": (
        "Names of scalars may have blanks, signs and letters of any alphabet, and numbers any size that is finite.",
        "replace what your service does not take",
    ),
    "T6-leaves-the-run-alone": (
        "Of the run's folder it changes nothing but what lies in `files`, its own.",
        "write into run.files, or elsewhere as an option says",
    ),
    "T7-follows-a-run": (
        "In a process of its own it takes everything of a real run, to the end.",
        "see the error; RUN/tracking/NAME/log.txt has what its process printed",
    ),
}
