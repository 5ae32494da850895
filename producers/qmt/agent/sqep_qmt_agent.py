# coding: utf-8
"""Sends bars of QMT to sqep-qmt: dials out, sends QMT's own values, keeps nothing. Needs Python 3.6 and xtquant.
python sqep_qmt_agent.py --connect HOST:7878 --token-file FILE --sector SECTOR; in big QMT: edit DEFAULTS, run as strategy"""
import argparse, contextlib, json, math, os, select, socket, ssl, sys, threading, time
DEFAULTS = ["--connect", "127.0.0.1:7878", "--token-file", "C:/sqep/token.txt", "--sector", u"\u6caa\u6df1A\u80a1"]  # all A shares
FIELDS = ["time", "open", "high", "low", "close", "volume", "amount", "preClose", "suspendFlag", "openInterest"]
DETAIL = dict(day="TradingDay", name="InstrumentName", up="UpStopPrice", down="DownStopPrice", preClose="PreClose")
DIVID = ["time", "interest", "stockBonus", "stockGift", "allotNum", "allotPrice", "gugai", "dr"]
RAW = dict(dividend_type="none", fill_data=False)
BEAT_S, POLL_S, LOOK_S, LIST_S, TURN_S, MINUTE_S, PAUSE_S_MAX, CODES_MAX, ROWS_MAX, MISSED_MAX = 1, 3, 15, 3600, 0.5, 60, 60, 200, 1000, 240
def options(words=None):
    p = argparse.ArgumentParser()
    for name, value in (("connect", "127.0.0.1:7878"), ("token-file", "token.txt"), ("name", socket.gethostname()), ("codes", ""),
                        ("sector", ""), ("volume", "lot"), ("tls-ca", ""), ("subscribe-max", 50), ("hang-s-max", 300)):
        p.add_argument("--" + name, default=value, type=type(value))
    return p.parse_args(words)
def plain(value):
    value = value.item() if hasattr(value, "item") else value  # numpy's become Python's, NaN becomes null
    return None if isinstance(value, float) and not math.isfinite(value) else value
def rows_of(frame, fields=FIELDS):
    names = [name for name in fields if frame is not None and len(frame) and name in frame]
    return [dict(zip(names, map(plain, row))) for row in zip(*[frame[name] for name in names])]
class Agent(object):
    def __init__(self, xt, args):
        self.xt, self.args, self.lock, self.page = xt, args, threading.Lock(), getattr(sys.stdout, "encoding", None) or "ascii"
        self.sock, self.pause, self.again, self.subs, self.swept_at, self.moved = None, 1, 0, {}, time.monotonic(), time.monotonic()
        threading.Thread(target=self.beats, daemon=True).start()
    def step(self, wait=0.2):  # whatever QMT or the network does: it begins again after a pause
        self.moved = time.monotonic()
        try:
            self.sock is None and time.monotonic() >= self.again and self.dial()
            self.work(wait) if self.sock else time.sleep(wait)
        except Exception as error:
            print(time.strftime("%H:%M:%S"), repr(error).encode(self.page, "backslashreplace").decode(self.page), flush=True)
            self.sock, self.again, self.pause = None, time.monotonic() + self.pause, min(self.pause * 2, PAUSE_S_MAX)
    def beats(self):  # none while a call of QMT does not return: the program ends, and its supervisor starts it again
        while not time.sleep(BEAT_S):
            hangs = time.monotonic() - self.moved > self.args.hang_s_max
            with contextlib.suppress(OSError, AttributeError):
                self.beat() if not hangs else hasattr(self.xt, "inside") or os._exit(1)
    def offer(self):
        self.listed, sector = time.monotonic(), self.args.sector
        with contextlib.suppress(Exception): sector and self.xt.download_sector_data()  # noqa: E701, not every QMT has it
        return [code for code in self.args.codes.split(",") if code] or list(sector and self.xt.get_stock_list_in_sector(sector))
    def dial(self):
        token, codes, (host, port) = open(self.args.token_file).read().strip(), self.offer(), self.args.connect.rsplit(":", 1)
        sock = socket.create_connection((host, port), timeout=30)
        if self.args.tls_ca:
            sock = ssl.create_default_context(cafile=self.args.tls_ca).wrap_socket(sock, server_hostname=host)
        self.period, self.polled, self.began, self.heard, self.swept = None, -math.inf, -math.inf, None, None
        self.sock, self.seq, self.rest, self.todo, self.failed, self.whole, self.well = sock, 0, b"", [], set(), False, True
        self.send(t="hello", v=1, agent=self.args.name, session=os.urandom(8).hex(), token=token, codes=codes, unit={
            "volume": self.args.volume}, api=getattr(self.xt, "inside", "xtdata"), tz_offset_s=-time.timezone)
    def send(self, **line):
        with self.lock:
            self.seq += 1
            self.sock.sendall((json.dumps(dict(line, seq=self.seq), allow_nan=False) + "\n").encode("utf-8"))
    def beat(self):
        self.period and self.send(t="hb", now=int(time.time() * 1000), connected=self.well, swept=self.swept)
    def hear(self, wait):
        if select.select([self.sock], [], [], wait)[0]:
            with self.lock:  # TLS is not for two threads at the same time
                self.sock.settimeout(0.1)
                with contextlib.suppress(socket.timeout):
                    self.rest += self.sock.recv(1 << 16) or b'{"t":"bye","reason":"the connection has ended"}\n'
                self.sock.settimeout(None)
        *lines, self.rest = self.rest.split(b"\n")
        [self.take(json.loads(line.decode("utf-8"))) for line in lines]
    def take(self, job):
        assert job["t"] != "bye", job["reason"]
        self.heard = job.get("seq", self.heard)  # of an ack
        job["t"] == "hist" and self.todo.append(dict(job, left=list(job["codes"]), rows=0))
        if job["t"] == "sub":
            [self.xt.unsubscribe_quote(self.subs.popitem()[1]) for _ in list(self.subs)]
            self.codes, self.period, self.start, self.sent = job["codes"], job["period"], job.get("start", ""), {}
            self.most, self.began, self.pause = self.args.subscribe_max, -math.inf, 1
            self.todo = [other for other in self.todo if other["t"] == "hist"]
    def work(self, wait):
        until = self.hear(0 if self.todo else wait) or time.monotonic() + TURN_S
        while self.period:  # one security of each job in turn, so that no poll waits for more than one download
            time.monotonic() - self.polled >= POLL_S and self.poll()
            if not self.todo or time.monotonic() >= until: return  # noqa: E701
            self.one(self.todo.pop(0))
    def one(self, job):
        if not job["left"]:
            if job["t"] == "hist": return self.send(t="done", req=job["req"], rows=job["rows"])  # noqa: E701
            self.swept_at, self.swept = (self.began, job["heard"]) if self.whole else (self.swept_at, self.swept)
            return self.beat()  # which ack a whole look followed
        code, period, _ = job["left"].pop(0), job["period"], self.todo.append(job)
        try:  # what was never downloaded stays silent, and what is not subscribed is as old as its download
            self.xt.download_history_data(code, period, job.get("start", ""), job.get("end", ""))
            if job["t"] == "hist":
                span = dict(RAW, start_time=job["start"], end_time=job["end"])
                rows = rows_of(self.xt.get_market_data_ex(FIELDS, [code], period, **span).get(code))
                job.get("refs") and self.refs(code)
                self.bars(code, rows, "history", period, req=job["req"])
                job["rows"] += len(rows)
            else:
                seq = self.subs.get(code) or len(self.subs) < self.most and self.xt.subscribe_quote(code, period=period, count=0)
                self.most = self.most if seq > 0 and not self.subs.update({code: seq}) else len(self.subs)
                self.show([code])
            self.failed.discard((job["t"], code))
        except Exception as error:  # what fails twice holds up no look
            self.whole = self.whole and (job["t"] == "hist" or (job["t"], code) in self.failed)
            self.failed.add((job["t"], code))
            self.send(t="err", req=job.get("req"), code=code, msg=repr(error)[:500])
    def poll(self):  # all that is subscribed; if that is not all, every so often a look begins that downloads all, one by one
        self.polled, live = time.monotonic(), list(self.subs)
        now, slow = self.polled, list(self.codes) if set(self.codes) - set(live) else []  # what is subscribed may be dead
        if now - self.began >= (LOOK_S if slow else 0) and all(job["t"] == "hist" for job in self.todo):
            look = dict(t="look", left=slow, heard=self.heard, period=self.period, start=self.start)
            self.began, self.whole, self.todo[:0] = now, True, [look]
        try:
            [self.show(live[at:at + CODES_MAX]) for at in range(0, len(live), CODES_MAX)]
            now - self.listed < LIST_S or self.send(t="codes", codes=self.offer())
            self.well = True
        except Exception as error:
            self.well = self.whole = False
            self.send(t="err", msg=repr(error)[:500])
    def show(self, codes):  # as far back as the last whole look
        missed = min(int(max(0, time.monotonic() - self.swept_at) / MINUTE_S), MISSED_MAX)
        for code, frame in self.xt.get_market_data_ex(FIELDS, codes, self.period, count=2 + missed, **RAW).items():
            rows, before = rows_of(frame), self.sent.get(code) or [{}]
            new = rows[-1:] and rows[-1].get("time") != before[-1].get("time")  # with the last of the one before
            self.sent[code] = rows[-2:]
            self.bars(code, [row for row in rows if new or row not in before], "live", self.period)
    def refs(self, code):  # some builds tell the day only to who asks for all
        known = next((told for more in ((), (True,)) for told in [self.xt.get_instrument_detail(code, *more) or {}] if told.get(DETAIL["day"])), {})
        self.send(t="instrument", code=code, **{key: plain(known.get(name)) for key, name in DETAIL.items()})
        self.send(t="divid", code=code, rows=rows_of(self.xt.get_divid_factors(code), DIVID))
    def bars(self, code, rows, src, period, **more):
        for at in range(0, len(rows), ROWS_MAX):
            self.moved = time.monotonic()  # to wait for the network is not to hang
            self.send(t="bars", src=src, code=code, period=period, rows=rows[at:at + ROWS_MAX], **more)
def inside(context, live=set()):  # the calls of xtdata by the big QMT's ContextInfo
    return argparse.Namespace(
        inside="bigqmt", get_stock_list_in_sector=context.get_stock_list_in_sector, get_divid_factors=lambda code: None,
        get_instrument_detail=lambda code, *_: getattr(context, "get_instrumentdetail", lambda code: None)(code),
        get_market_data_ex=lambda fields, codes, period, **call: context.get_market_data_ex(
            fields, codes, period=period, subscribe=all((code, period) in live for code in codes), **call),
        download_history_data=download_history_data,  # noqa: F821, a name that it gives to strategies
        subscribe_quote=lambda code, period, count: live.add((code, period)) or 1, unsubscribe_quote=lambda seq: live.clear())
def init(context):
    init.agent = Agent(inside(context), options(DEFAULTS))
    context.run_time("turn", "1nSecond", "2020-01-01 00:00:00")
turn = lambda _context: init.agent.step(0.01)  # noqa: E731
if __name__ == "__main__":
    from xtquant import xtdata
    agent = Agent(xtdata, options())
    while True: agent.step()  # noqa: E701
