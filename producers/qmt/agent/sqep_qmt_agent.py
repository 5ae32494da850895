# coding: utf-8
"""Sends bars of QMT to sqep-qmt: dials out, sends QMT's own values, keeps nothing.

    python sqep_qmt_agent.py --connect HOST:7878 --token-file FILE [--codes 600000.SH,000001.SZ | --sector 沪深A股]
Needs Python 3.6 and xtquant. Inside the big QMT: edit DEFAULTS and load the file as a strategy (README)."""
import argparse, contextlib, json, math, os, queue, socket, ssl, threading, time
DEFAULTS = ["--connect", "127.0.0.1:7878", "--token-file", "C:/sqep/token.txt", "--sector", u"沪深A股"]
FIELDS = ["time", "open", "high", "low", "close", "volume", "amount", "preClose", "suspendFlag", "openInterest"]
DETAIL = dict(day="TradingDay", name="InstrumentName", up="UpStopPrice", down="DownStopPrice", preClose="PreClose")
DIVID = ["time", "interest", "stockBonus", "stockGift", "allotNum", "allotPrice", "gugai", "dr"]
BEAT_S, POLL_S, TURN_S, MINUTE_S, PAUSE_S_MAX, CODES_MAX, ROWS_MAX, MISSED_MAX = 1, 3, 0.5, 60, 60, 200, 1000, 240

def options(words=None):
    p = argparse.ArgumentParser()
    for name, value in (("connect", "127.0.0.1:7878"), ("token-file", "token.txt"), ("name", socket.gethostname()),
                        ("codes", ""), ("sector", ""), ("volume", "lot"), ("tls-ca", "")):
        p.add_argument("--" + name, default=value)
    p.add_argument("--subscribe", action="store_true", help="besides polling; QMT allows some 50 to 300 codes")
    return p.parse_args(words)
def plain(value):
    value = value.item() if hasattr(value, "item") else value  # numpy's become Python's, NaN becomes null
    return None if isinstance(value, float) and not math.isfinite(value) else value
def rows_of(frame, fields=FIELDS):
    names = [name for name in fields if frame is not None and len(frame) and name in frame]
    return [dict(zip(names, map(plain, row))) for row in zip(*[frame[name] for name in names])]

class Agent(object):
    def __init__(self, xt, args):
        self.xt, self.args, self.lock = xt, args, threading.Lock()
        self.sock, self.pause, self.again, self.subs, self.swept_at = None, 1, 0, [], time.time()
    def step(self, wait=0.2):  # whatever QMT or the network does: it begins again after a pause
        try:
            if self.sock is None and time.time() < self.again:
                return time.sleep(wait)
            self.sock is None and self.dial()
            self.work(wait)
        except Exception as error:
            print(time.strftime("%H:%M:%S"), repr(error), flush=True)
            with contextlib.suppress(OSError, AttributeError):
                self.sock.shutdown(socket.SHUT_RDWR)  # close() alone would wait for the listening thread
            self.sock, self.again, self.pause = None, time.time() + self.pause, min(self.pause * 2, PAUSE_S_MAX)
    def dial(self):
        token, sector = open(self.args.token_file).read().strip(), self.args.sector
        codes = [c for c in self.args.codes.split(",") if c] or list(sector and self.xt.get_stock_list_in_sector(sector))
        assert codes or not sector, "QMT names no codes of " + sector
        host, port = self.args.connect.rsplit(":", 1)
        sock = socket.create_connection((host, port), timeout=30)
        if self.args.tls_ca:
            sock = ssl.create_default_context(cafile=self.args.tls_ca).wrap_socket(sock, server_hostname=host)
        sock.settimeout(None)
        self.sock, self.seq, self.over, self.jobs, self.todo = sock, 0, threading.Event(), queue.Queue(), []
        self.codes, self.period, self.polled, self.sent, self.heard, self.swept = [], None, 0, {}, {}, None
        self.send(t="hello", v=1, agent=self.args.name, session=os.urandom(8).hex(), token=token, api="xtdata",
                  tz_offset_s=-time.timezone, unit={"volume": self.args.volume}, codes=codes)
        threading.Thread(target=self.listen, args=(sock, self.over, self.jobs, self.heard), daemon=True).start()
        threading.Thread(target=self.beats, args=(self.over,), daemon=True).start()
    def send(self, **line):
        with self.lock:
            self.seq += 1
            self.sock.sendall((json.dumps(dict(line, seq=self.seq), allow_nan=False) + "\n").encode("utf-8"))
    def listen(self, sock, over, jobs, heard):
        with contextlib.suppress(OSError, ValueError):
            for line in sock.makefile("r", encoding="utf-8"):
                job = json.loads(line)
                heard.update(ack=job["seq"]) if job["t"] == "ack" else jobs.put(job)
        over.set()
        jobs.put({"t": "bye", "reason": "the connection has ended"})
    def beat(self):
        self.send(t="hb", now=int(time.time() * 1000), subs=len(self.codes), swept=self.swept)
    def beats(self, over):
        while not over.wait(BEAT_S):
            self.beat()
    def work(self, wait):
        with contextlib.suppress(queue.Empty):
            self.take(self.jobs.get(timeout=0.001 if self.todo else wait))
        until = time.time() + TURN_S
        while True:  # one security at a time, so that no poll waits for more than one download
            if self.period and time.time() - self.polled >= POLL_S:
                self.polled = time.time()
                self.poll()
            if not self.todo or time.time() >= until:
                return
            self.one(self.todo[0])
    def take(self, job):
        assert job["t"] != "bye", job["reason"]
        if job["t"] == "sub":
            [self.xt.unsubscribe_quote(seq) for seq in self.subs]
            self.codes, self.period, self.subs, self.sent, self.pause = job["codes"], job["period"], [], {}, 1
        if job["t"] == "hist" or job["t"] == "sub" and self.args.subscribe:
            self.todo.append(dict(job, left=list(job["codes"]), rows=0))
    def one(self, job):
        if not job["left"]:
            return self.todo.pop(0)["t"] == "hist" and self.send(t="done", req=job["req"], rows=job["rows"])
        code, period, rows = job["left"].pop(0), job["period"], []
        try:
            if job["t"] == "sub":  # a period that was never downloaded stays silent
                self.xt.download_history_data(code, period)
                return self.subs.append(self.xt.subscribe_quote(code, period=period, count=0, callback=self.push))
            self.xt.download_history_data(code, period, job["start"], job["end"])
            rows = rows_of(self.read([code], period, start_time=job["start"], end_time=job["end"]).get(code))
            job.get("refs") and self.refs(code)
        except Exception as error:
            return self.send(t="err", req=job.get("req"), code=code, msg=repr(error)[:500])
        self.bars(code, rows, "history", period, req=job["req"])
        job["rows"] += len(rows)
    def bars(self, code, rows, src, period, **more):
        for at in range(0, len(rows), ROWS_MAX):
            self.send(t="bars", src=src, code=code, period=period, rows=rows[at:at + ROWS_MAX], **more)
    def read(self, codes, period, **span):
        return self.xt.get_market_data_ex(FIELDS, codes, period, dividend_type="none", fill_data=False, **span)
    def refs(self, code):
        known = self.xt.get_instrument_detail(code) or {}
        self.send(t="instrument", code=code, **{key: plain(known.get(name)) for key, name in DETAIL.items()})
        self.send(t="divid", code=code, rows=rows_of(self.xt.get_divid_factors(code), DIVID))
    def push(self, data):
        for code, rows in data.items():
            self.bars(code, [{n: plain(row[n]) for n in FIELDS if n in row} for row in rows], "live", self.period)
    def poll(self):  # one look at all, as far back as the last; the heartbeat after it says which ack it followed
        began, heard, whole = time.time(), self.heard.get("ack"), True
        missed = min(int(max(0, began - self.swept_at) / MINUTE_S), MISSED_MAX)
        for at in range(0, len(self.codes), CODES_MAX):
            try:
                frames = self.read(self.codes[at:at + CODES_MAX], self.period, count=2 + missed)
            except Exception as error:
                frames, whole = {}, self.send(t="err", msg=repr(error)[:500])
            for code, frame in frames.items():
                rows, before = rows_of(frame), self.sent.get(code) or [{}]
                new = rows[-1:] and rows[-1].get("time") != before[-1].get("time")  # with the last of the one before
                self.sent[code] = rows[-2:]
                self.bars(code, [row for row in rows if new or row not in before], "live", self.period)
        if whole:
            self.swept_at, self.swept = began, heard
            self.beat()
class Inside(object):
    def __init__(self, context):  # the calls of xtdata by the big QMT's ContextInfo
        self.get_stock_list_in_sector = context.get_stock_list_in_sector
        self.get_instrument_detail = getattr(context, "get_instrumentdetail", lambda code: None)
        self.get_divid_factors = lambda code: None  # there it is asked by day: the producer takes preClose
        self.get_market_data_ex = lambda fields, codes, period, **call: context.get_market_data_ex(
            fields, codes, period=period, subscribe=False, **call)
        self.download_history_data = download_history_data  # noqa: F821, a name that it gives to strategies
def init(context):
    global AGENT
    AGENT = Agent(Inside(context), options(DEFAULTS))
    context.run_time("turn", "1nSecond", "2020-01-01 00:00:00")
turn = lambda _context: AGENT.step(0.01)  # noqa: E731
if __name__ == "__main__":
    from xtquant import xtdata
    agent = Agent(xtdata, options())
    while True: agent.step()  # noqa: E701
