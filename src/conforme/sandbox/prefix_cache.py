"""Prompt caching as OpenAI documents it: prefixes of at least 1 024 tokens, in steps of 128, byte for byte."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import count

CHARACTERS_PER_TOKEN = 4
"""The simulated tokenizer: four characters make a token, rounded up."""
MINIMUM_TOKENS = 1024
INCREMENT_TOKENS = 128
LIFETIME_SECONDS = 600.0
"""A prefix not asked for during this time is forgotten."""
MOST_PREFIXES = 200_000


def tokens_in(text: str) -> int:
    """Simulated token count of a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


class PrefixCache:
    """Which prefixes were answered lately, per `prompt_cache_key`.

    A request only finds what an earlier one left by being *answered*: requests fired together on a cold cache
    all pay in full.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: OrderedDict[bytes, float] = OrderedDict()

    def cached_tokens(self, key: str, prompt: str) -> int:
        """Tokens of the longest known prefix of `prompt`; 0 below the minimum."""
        oldest = self._clock() - LIFETIME_SECONDS
        longest = 0
        for length, digest in _prefixes(key, prompt):
            if self._used.get(digest, oldest - 1) < oldest:
                break
            longest = length
        return longest

    def remember(self, key: str, prompt: str) -> None:
        now = self._clock()
        for _, digest in _prefixes(key, prompt):
            self._used[digest] = now
            self._used.move_to_end(digest)
        while len(self._used) > MOST_PREFIXES:
            self._used.popitem(last=False)


def _prefixes(key: str, prompt: str) -> Iterator[tuple[int, bytes]]:
    """Length in tokens and digest of each prefix that can be cached, shortest first."""
    running = hashlib.blake2b(key.encode(), digest_size=16)
    taken = 0
    for length in count(MINIMUM_TOKENS, INCREMENT_TOKENS):
        end = length * CHARACTERS_PER_TOKEN
        if end > len(prompt):
            return
        running.update(prompt[taken:end].encode("utf-8", "surrogatepass"))
        taken = end
        yield length, running.digest()
