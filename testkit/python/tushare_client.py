"""Asks a service through the official Tushare client, as its users do, and prints what the client made of it.

usage: tushare_client.py < questions.json > answers.json

A question is a list of whom, how and with what: [url, token, "query", api, fields, params], [url, token, "call", api,
params] or [url, token, "bar", params].
An answer has columns and rows of the client's table, or null where it gave none, or the text of its exception.
"""

import contextlib
import json
import sys
import warnings

warnings.simplefilter("ignore")

import tushare  # noqa: E402


def ask(pro: object, how: str, *words: object) -> object:
    """One question, by the way the client offers for it."""
    if how == "query":
        api, fields, params = words
        return pro.query(api, fields=fields, **params)
    if how == "call":
        api, params = words
        return getattr(pro, api)(**params)
    return tushare.pro_bar(api=pro, **words[0])


def answer(url: str, token: str, *question: object) -> dict:
    """What the client returned or raised."""
    pro = tushare.pro_api(token, timeout=10)
    # The client has no setting for it.
    pro._DataApi__http_url = url
    try:
        # pro_bar prints its exceptions.
        with contextlib.redirect_stdout(sys.stderr):
            frame = ask(pro, *question)
    except Exception as error:  # the client raises nothing finer
        return {"error": f"{type(error).__name__}: {error}"}
    if frame is None:
        return {"rows": None}
    rows = [[None if value != value else value for value in row] for row in frame.values.tolist()]
    return {"columns": list(frame.columns), "rows": rows}


json.dump([answer(*question) for question in json.load(sys.stdin)], sys.stdout, ensure_ascii=False)
