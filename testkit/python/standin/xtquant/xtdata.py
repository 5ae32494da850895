"""What xtdata does, as far as an agent can tell: bars of a made-up market, with QMT's habits.

The clock of the market is STANDIN_BASE_MS at STANDIN_AT (seconds since 1970) and runs STANDIN_SPEED times as fast. Habits:
a code that was not downloaded gives an empty frame and no error, and what is not subscribed stands still at its last
download; the bar of the running minute is there and grows; floats carry noise; every STANDIN_DEAF-th subscription is dead
from the start, and at second STANDIN_DEAF_S of the market all die without a word; more than STANDIN_SUBSCRIBE_MAX are
refused by -1; a download or a read fails now and then (STANDIN_FAIL: one in so many); a download takes STANDIN_DOWNLOAD_S
seconds of the market; codes of STANDIN_BROKEN always fail to download, and between the seconds STANDIN_OUT_S of the market
(such as 100-200) all do; the first STANDIN_DUMB questions for a sector fail; the file STANDIN_HANG, when it is there, is
taken away and that download never returns; from second STANDIN_LISTED_S of the market on the sector has STANDIN_LISTED, for who
downloads sectors; codes that end in 0 have ex-days that QMT knows of, 000001.SZ has one that shows in preClose alone;
weekdays may be holidays (STANDIN_CLOSED: days like 20250101). The market is a formula of code and minute, so that a test
knows every final value. ContextInfo is what a strategy inside the big QMT is given.
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
DEAF_S = float(os.environ.get("STANDIN_DEAF_S", "inf"))
SUBSCRIBE_MAX = int(os.environ.get("STANDIN_SUBSCRIBE_MAX", "1000000"))
HANG = os.environ.get("STANDIN_HANG", "")
LISTED = os.environ.get("STANDIN_LISTED", "")
LISTED_S = float(os.environ.get("STANDIN_LISTED_S", "0"))
FAIL = int(os.environ.get("STANDIN_FAIL", "0"))
DOWNLOAD_S = float(os.environ.get("STANDIN_DOWNLOAD_S", "0"))
BROKEN = os.environ.get("STANDIN_BROKEN", "").split(",")
OUT_S = [float(second) for second in os.environ.get("STANDIN_OUT_S", "inf-inf").split("-")]
DUMB = int(os.environ.get("STANDIN_DUMB", "0"))
CLOSED = set(os.environ.get("STANDIN_CLOSED", "").split(","))
EIGHT_HOURS_MS = 8 * 3600 * 1000

# When each code and period was downloaded, and from when to when each subscription keeps them fresh.
downloaded, subscriptions, sector, calls, seqs = {}, {}, list(CODES), [0, 0], [0]


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


def fresh_ms(code, period):
    """Until when the bars of a code are known; None: nothing was downloaded."""
    if (code, period) not in downloaded:
        return None
    now, lost = now_ms(), BASE_MS + DEAF_S * 1000
    # A dead one is taken like any other, and gives nothing.
    alive = {seq: begun for seq, begun in subscriptions.get((code, period), {}).items() if not (DEAF and seq % DEAF == 0)}
    return max([downloaded[code, period]] + [min(now, lost) if begun < lost else now for begun in alive.values()])


def kept(code, start_ms, end_ms, now=None):
    now, rows = now or now_ms(), []
    day = (start_ms + EIGHT_HOURS_MS) // 86400000 * 86400000 - EIGHT_HOURS_MS
    while day <= min(end_ms, now):
        midnight_s = (day + EIGHT_HOURS_MS) // 1000
        weekend = midnight_s // 86400 % 7 in (2, 3)  # 1970-01-01 was a Thursday
        if not weekend and time.strftime("%Y%m%d", time.gmtime(midnight_s)) not in CLOSED:
            for label in minutes(day):
                begun = now - (label - 60000)
                if start_ms <= label <= max(end_ms, start_ms) + 60000 and begun > 0:
                    # A snapshot every three seconds; the last of the minute has all of it.
                    rows.append(bar(code, label, min(20, begun // 3000 + 1) / 20))
        day += 86400000
    return rows


def midnight(ms):
    return (ms + EIGHT_HOURS_MS) // 86400000 * 86400000 - EIGHT_HOURS_MS


def date(ms):
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(milliseconds=ms + EIGHT_HOURS_MS)


def dividends(code):
    """Ex-day and what earlier prices are divided by."""
    return [("20240620", 1.05), ("20250102", 1.02)] if code[5] == "0" else []


def day_bar(code, day, now=None):
    """The bar of a day, of as many of its minutes as have begun, and its reference price."""
    rows = kept(code, day, day + 86400000 - 1, now)
    last = bar(code, day + 900 * 60000, 1)["close"]
    known = dict(dividends(code), **({"20250102": 1.01} if code == "000001.SZ" else {}))
    reference = round(last / known.get(date(day).strftime("%Y%m%d"), 1.0), 3)
    if not rows:
        return None, reference
    row = dict(rows[-1], time=day, open=rows[0]["open"], high=max(r["high"] for r in rows), preClose=reference)
    row.update(low=min(r["low"] for r in rows), volume=sum(r["volume"] for r in rows),
               amount=sum(r["amount"] for r in rows))
    return row, reference


def days(code, start_ms, end_ms, now):
    day, rows = max(midnight(start_ms), stamp("20241223", 0)), []  # when everything was listed
    while day <= min(end_ms, now):
        rows.append(day_bar(code, day, now)[0])
        day += 86400000
    return [row for row in rows if row]


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
    if HANG and os.path.exists(HANG):
        os.remove(HANG)
        threading.Event().wait()
    time.sleep(DOWNLOAD_S / SPEED)
    if stock_code in BROKEN or OUT_S[0] <= (now_ms() - BASE_MS) / 1000 < OUT_S[1]:
        raise RuntimeError("周期错误")
    downloaded[stock_code, period] = now_ms()


def get_market_data_ex(field_list, stock_list, period="1d", start_time="", end_time="", count=-1,
                       dividend_type="none", fill_data=True):
    assert dividend_type == "none" and not fill_data and period in ("1m", "1d")
    trouble()
    frames = {}
    for code in stock_list:
        known = fresh_ms(code, period)
        read = kept if period == "1m" else days
        rows = read(code, stamp(start_time, midnight(now_ms())), stamp(end_time, now_ms()), known) if known else []
        rows = rows[-count:] if count > 0 else rows
        frames[code] = Frame({name: [row[name] for row in rows] for name in field_list} if rows else {})
    return frames


def download_sector_data():
    if LISTED and LISTED not in sector and now_ms() >= BASE_MS + LISTED_S * 1000:
        sector.append(LISTED)


def get_stock_list_in_sector(sector_name):
    if calls[1] < DUMB:
        calls[1] += 1
        raise RuntimeError("行情服务连接断开")
    return list(sector)


def get_instrument_detail(stock_code, iscomplete=False):
    today = midnight(now_ms())
    reference = day_bar(stock_code, today)[1]
    # Before 08:55 it still tells of the day before.
    told = today if now_ms() - today >= (8 * 60 + 55) * 60000 else today - 86400000
    index = stock_code.startswith("000") and stock_code.endswith(".SH")
    # Builds differ: one that tells the day only to who asks for all fields.
    day = {"TradingDay": date(told).strftime("%Y%m%d")} if iscomplete else {}
    return {**day, "PreClose": reference,
            "InstrumentName": "XD*ST平安" if stock_code == "000001.SZ" else "浦发银行",
            "UpStopPrice": 0.0 if index else round(reference * 1.1, 2),
            "DownStopPrice": 0.0 if index else round(reference * 0.9, 2)}


def get_divid_factors(stock_code, start_time="", end_time=""):
    rows = [dict(time=stamp(day, 0), interest=0.0, stockBonus=0.0, stockGift=0.0, allotNum=0.0, allotPrice=0.0, gugai=0.0,
                 dr=dr) for day, dr in dividends(stock_code)]
    return Frame({name: [row[name] for row in rows] for name in rows[0]} if rows else {})


def subscribe_quote(stock_code, period="1d", start_time="", end_time="", count=0, callback=None):
    if sum(map(len, subscriptions.values())) >= SUBSCRIBE_MAX:
        return -1
    seqs[0] += 1
    subscriptions.setdefault((stock_code, period), {})[seqs[0]] = now_ms()
    return seqs[0]


def unsubscribe_quote(seq):
    for standing in subscriptions.values():
        standing.pop(seq, None)


class ContextInfo(object):
    """What a strategy inside the big QMT is given; it subscribes by reading, and on its own thread alone."""

    get_stock_list_in_sector = staticmethod(get_stock_list_in_sector)

    def get_market_data_ex(self, fields, stock_code, period="follow", start_time="", end_time="", count=-1,
                           dividend_type="follow", fill_data=True, subscribe=True):
        for code in stock_code if subscribe else []:
            if not subscriptions.get((code, period)):
                subscribe_quote(code, period)
        return get_market_data_ex(fields, stock_code, period, start_time, end_time, count, dividend_type, fill_data)

    def run_time(self, name, period, start):
        self.timer = name
