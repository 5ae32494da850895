"""What xtdata does, as far as an agent can tell: bars of a made-up market, with QMT's habits.

The clock of the market is STANDIN_BASE_MS at STANDIN_AT (seconds since 1970) and runs STANDIN_SPEED times as fast. Habits:
a code that was not downloaded gives an empty frame and no error; the bar of the running minute is there and grows;
floats carry noise; every STANDIN_DEAF-th subscription never calls; a download or a read fails now and then
(STANDIN_FAIL: one in so many). The market is a formula of code and minute, so that a test knows every final value.
"""
import datetime
import os
import threading
import time

BASE_MS = int(os.environ.get("STANDIN_BASE_MS", "1735781340000"))
AT = float(os.environ.get("STANDIN_AT", "0")) or time.time()
SPEED = float(os.environ.get("STANDIN_SPEED", "1"))
CODES = os.environ.get("STANDIN_CODES", "600000.SH,000001.SZ,510300.SH").split(",")
DEAF = int(os.environ.get("STANDIN_DEAF", "0"))
FAIL = int(os.environ.get("STANDIN_FAIL", "0"))
EIGHT_HOURS_MS = 8 * 3600 * 1000

downloaded, subscriptions, calls = set(), {}, [0]


class Frame(dict):
    """Columns by name, as a DataFrame's; its length is its rows."""

    def __len__(self):
        return len(next(iter(self.values()))) if dict.__len__(self) else 0


def now_ms():
    return BASE_MS + int((time.time() - AT) * 1000 * SPEED)


def minutes(day):
    """Labels of a day: 09:30 to 11:30 and 13:01 to 15:00."""
    return [day + minute * 60000 for minute in list(range(570, 691)) + list(range(781, 901))]


def bar(code, label, share):
    """The bar that ends at a label, when `share` of its minute is over."""
    minute = label // 60000 % 1440
    lots = int((100 + (int(code[:6]) + minute) % 50) * share)
    price = (10000 + int(code[:6]) % 100 * 10 + minute) * 0.001
    return {"time": label, "open": price, "high": price + 1e-12, "low": price, "close": price, "volume": lots,
            "amount": float(int(lots * 100 * price)), "settelementPrice": 0.0, "openInterest": 13, "preClose": price,
            "suspendFlag": 0}


def kept(code, start_ms, end_ms):
    now, rows = now_ms(), []
    day = (start_ms + EIGHT_HOURS_MS) // 86400000 * 86400000 - EIGHT_HOURS_MS
    while day <= min(end_ms, now):
        if (day + EIGHT_HOURS_MS) // 86400000 % 7 not in (2, 3):  # 1970-01-01 was a Thursday
            for label in minutes(day):
                begun = now - (label - 60000)
                if start_ms <= label <= max(end_ms, start_ms) + 60000 and begun > 0:
                    # A snapshot every three seconds; the last of the minute has all of it.
                    rows.append(bar(code, label, min(20, begun // 3000 + 1) / 20))
        day += 86400000
    return rows


def stamp(text, default):
    if not text:
        return default
    wall = datetime.datetime.strptime(text.ljust(14, "0"), "%Y%m%d%H%M%S")
    return int((wall - datetime.datetime(1970, 1, 1)).total_seconds() * 1000) - EIGHT_HOURS_MS


def trouble():
    calls[0] += 1
    if FAIL and calls[0] % FAIL == 0:
        raise RuntimeError("行情服务连接断开")


def download_history_data(stock_code, period, start_time="", end_time="", incrementally=None):
    trouble()
    downloaded.add((stock_code, period))


def get_market_data_ex(field_list, stock_list, period="1d", start_time="", end_time="", count=-1,
                       dividend_type="none", fill_data=True):
    assert dividend_type == "none" and not fill_data and period == "1m"
    trouble()
    frames = {}
    for code in stock_list:
        known = (code, period) in downloaded
        today = (now_ms() + EIGHT_HOURS_MS) // 86400000 * 86400000 - EIGHT_HOURS_MS
        rows = kept(code, stamp(start_time, today), stamp(end_time, now_ms())) if known else []
        rows = rows[-count:] if count > 0 else rows
        frames[code] = Frame({name: [row[name] for row in rows] for name in field_list} if rows else {})
    return frames


def get_stock_list_in_sector(sector_name):
    return list(CODES)


def subscribe_quote(stock_code, period="1d", start_time="", end_time="", count=0, callback=None):
    seq = len(subscriptions) + 1
    subscriptions[seq] = True
    deaf = DEAF and seq % DEAF == 0

    def push():
        label = now_ms()
        while subscriptions.get(seq):
            if not deaf and (stock_code, period) in downloaded:
                for row in kept(stock_code, label, now_ms()):
                    label = row["time"]
                    callback({stock_code: [row]})
            time.sleep(3 / SPEED)

    threading.Thread(target=push, daemon=True).start()
    return seq


def unsubscribe_quote(seq):
    subscriptions[seq] = False
