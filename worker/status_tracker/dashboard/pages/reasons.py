"""What each reason for which an update is rejected means, and what mends it."""

from collections.abc import Mapping

from msgspec import Struct

from status_tracker.models import Reason


class Advice(Struct, frozen=True):
    """What people are told."""

    wrong: str
    mend: str


_PRODUCER = "Mend the producer's code and have it send the update again; then purge."

ADVICE: Mapping[Reason, Advice] = {
    "malformed": Advice("The bytes are no JSON.", _PRODUCER),
    "oversized": Advice(
        "Larger than max_event_bytes in the rules; only the beginning is kept.", _PRODUCER
    ),
    "invalid": Advice(
        "JSON, but no update: a field is missing, or it is not what it should be.", _PRODUCER
    ),
    "future": Advice(
        "The time it was said, updatedAt, is ahead of the server's clock.",
        "Set the clock of the producer right. Replay once that time has come.",
    ),
    "unknown_entity": Advice(
        "There was no status yet, and no life begins in that phase.",
        "Send the first update, then replay. If that one was rejected, too, replay both.",
    ),
    "illegal_transition": Advice(
        "No step of the rules leads there from the phase that the entity was in.",
        "Change the rules, then replay; or set the phase by hand, with status-tracker set.",
    ),
    "retries_exhausted": Advice(
        "It would have begun one more retry than max_retries in the rules allows.",
        "Begin again by hand, with status-tracker set … --restart; or allow more, then replay.",
    ),
    "stale": Advice(
        "A newer update of the entity had come before.",
        "Nothing is to be done, for the newer one counts. Purge.",
    ),
    "superseded": Advice(
        "A later attempt of the entity had begun.",
        "Nothing is to be done, for the later attempt counts. Purge.",
    ),
    "corrupt_state": Advice(
        "The key of the entity held something that is no status.",
        "Delete the key, then replay.",
    ),
}

_OTHER = Advice("Workers of this release do not know this reason.", "Look at the detail.")


def advice_on(reason: str) -> Advice:
    """Return what to tell of a reason, also of one that others wrote into the stream."""
    return next((advice for known, advice in ADVICE.items() if known == reason), _OTHER)
