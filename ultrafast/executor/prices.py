"""What tokens cost: the published prices, and `cost_usd`.

Prices are USD per million tokens, as published at
https://platform.claude.com/docs/en/about-claude/pricing, read in November 2026. They change; pass
your own table to `ClaudeConnectionPool(prices=...)`. A model that is not listed costs None, never
a guess. Stands on msgspec and `tasks`.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ultrafast.executor.tasks import Usage

__all__ = ["PRICES", "Price", "cost_usd"]

_MILLION = 1_000_000


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """USD per million tokens of one model.

    Parameters
    ----------
    input, output : float
        Of the prompt's new tokens, and of the answer's.
    cache_read, cache_write : float
        Of the prompt's tokens read from the API's prompt cache, and of those written to it for
        five minutes.
    long_prompt_tokens, long_prompt : int, Price, optional
        A request whose prompt (cached parts included) is longer than this is charged by this other
        price entirely.
    """

    input: float
    output: float
    cache_read: float
    cache_write: float
    long_prompt_tokens: int | None = None
    long_prompt: Price | None = None


_OPUS_5 = Price(input=5.0, output=25.0, cache_read=0.50, cache_write=6.25)

PRICES: dict[str, Price] = {
    "claude-fable-5-1": Price(input=10.0, output=50.0, cache_read=0.25, cache_write=12.50),
    "claude-fable-5": Price(input=10.0, output=50.0, cache_read=1.0, cache_write=12.50),
    "claude-opus-5-5": Price(input=4.0, output=20.0, cache_read=0.20, cache_write=5.0),
    "claude-opus-5": _OPUS_5,
    "claude-opus-4-8": _OPUS_5,
    "claude-opus-4-7": _OPUS_5,
    "claude-opus-4-6": _OPUS_5,
    "claude-opus-4-5": _OPUS_5,
    "claude-sonnet-5-5": Price(input=2.0, output=10.0, cache_read=0.10, cache_write=2.50),
    "claude-sonnet-5": Price(input=2.0, output=10.0, cache_read=0.20, cache_write=2.50),
    "claude-haiku-5-5": Price(
        input=0.10,
        output=0.50,
        cache_read=0.01,
        cache_write=0.125,
        long_prompt_tokens=100_000,
        long_prompt=Price(input=0.50, output=2.50, cache_read=0.05, cache_write=0.625),
    ),
    "claude-haiku-4-5": Price(input=1.0, output=5.0, cache_read=0.10, cache_write=1.25),
}


def cost_usd(model: str, usage: Usage, prices: Mapping[str, Price] = PRICES) -> float | None:
    """What one request cost, or None when the model's price is not known.

    Parameters
    ----------
    model : str
        As the answer names it.
    usage : Usage
        Of one request: with a price for long prompts, a sum over requests would be charged wrongly.
    prices : mapping of str to Price

    Returns
    -------
    float or None
        USD.

    Examples
    --------
    >>> cost_usd("claude-sonnet-5-5", Usage(input_tokens=1000, output_tokens=200))
    0.004
    >>> cost_usd("unheard-of", Usage(output_tokens=200)) is None
    True
    """
    price = prices.get(model)
    if price is None:
        return None
    prompt = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    if price.long_prompt is not None and prompt > (price.long_prompt_tokens or 0):
        price = price.long_prompt
    return (
        usage.input_tokens * price.input
        + usage.output_tokens * price.output
        + usage.cache_read_tokens * price.cache_read
        + usage.cache_write_tokens * price.cache_write
    ) / _MILLION
