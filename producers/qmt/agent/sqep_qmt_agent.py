# coding: utf-8
"""Sends bars of QMT to sqep-qmt: dials out, sends QMT's own values, keeps nothing.

    python sqep_qmt_agent.py --connect HOST:7878 --token-file FILE [--codes 600000.SH,000001.SZ | --sector 沪深A股]
Needs Python 3.6 and xtquant. Inside the big QMT: edit DEFAULTS and load the file as a strategy (README)."""
import argparse, contextlib, json, math, os, queue, socket, ssl, threading, time
DEFAULTS = ["--connect", "127.0.0.1:7878", "--token-file", "C:/sqep/token.txt", "--sector", u"沪深A股"]
FIELDS = ["time", "open", "high", "low", "close", "volume", "amount", "preClose", "suspendFlag", "openInterest"]
BEAT_S, POLL_S, PAUSE_S_MAX, CODES_MAX, ROWS_MAX = 5, 3, 60, 200, 1000

def options(words=None):
    p = argparse.ArgumentParser(description="sends bars of QMT to sqep-qmt")
    p.add_argument("--connect", required=True, help="HOST:PORT of sqep-qmt")
    p.add_argument("--token-file", required=True)
    for name, value in (("name", socket.gethostname()), ("codes", ""), ("sector", ""), ("volume", "lot"), ("tls-ca", "")):
        p.add_argument("--" + name, default=value)
    p.add_argument("--subscribe", action="store_true", help="instead of polling; QMT allows some 50 to 300 codes")
    return p.parse_args(words)

def plain(value):
    """A number that JSON knows: numpy's become Python's, NaN becomes null."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value

def rows_of(frame):
    """Rows of a frame of get_market_data_ex; an empty one has none."""
    names = [name for name in FIELDS if frame is not None and len(frame) and name in frame]
    return [dict(zip(names, map(plain, row))) for row in zip(*[frame[name] for name in names])]

class Agent(object):
    def __init__(self, xt, args):
        self.xt, self.args, self.lock = xt, args, threading.Lock()
        self.sock, self.pause, self.again, self.subs = None, 1, 0, []

    def step(self, wait=0.2):
        """One turn. Whatever QMT or the network does: it begins again after a pause."""
        try:
            if self.sock is None and time.time() < self.again:
                return time.sleep(wait)
            self.sock is None and self.dial()
            self.work(wait)
        except Exception as error:
            print(time.strftime("%H:%M:%S"), repr(error), flush=True)
            if self.sock is not None:
                self.over.set()
                with contextlib.suppress(OSError):
                    self.sock.shutdown(socket.SHUT_RDWR)  # close() alone would wait for the listening thread
            self.sock, self.again, self.pause = None, time.time() + self.pause, min(self.pause * 2, PAUSE_S_MAX)

    def dial(self):
        host, port = self.args.connect.rsplit(":", 1)
        sock = socket.create_connection((host, int(port)), timeout=30)
        if self.args.tls_ca:
            sock = ssl.create_default_context(cafile=self.args.tls_ca).wrap_socket(sock, server_hostname=host)
        sock.settimeout(None)
        self.sock, self.seq, self.over, self.jobs = sock, 0, threading.Event(), queue.Queue()
        self.codes, self.period, self.sent, self.polled = [], None, {}, 0
        token = open(self.args.token_file).read().strip()
        sector = self.xt.get_stock_list_in_sector(self.args.sector) if self.args.sector else []
        codes = [code for code in self.args.codes.split(",") if code] or list(sector)
        self.send(t="hello", v=1, agent=self.args.name, session=os.urandom(8).hex(), token=token, api="xtdata",
                  tz_offset_s=-time.timezone, unit={"volume": self.args.volume}, codes=codes)
        threading.Thread(target=self.listen, args=(sock, self.over, self.jobs), daemon=True).start()
        threading.Thread(target=self.beat, args=(self.over,), daemon=True).start()

    def send(self, **line):
        with self.lock:
            self.seq += 1
            text = json.dumps(dict(line, seq=self.seq), allow_nan=False, separators=(",", ":")) + "\n"
            self.sock.sendall(text.encode("utf-8"))
    def listen(self, sock, over, jobs):
        with contextlib.suppress(OSError, ValueError):
            for line in sock.makefile("r", encoding="utf-8"):
                jobs.put(json.loads(line))
        over.set()
        jobs.put({"t": "bye", "reason": "the connection has ended"})
    def beat(self, over):
        while not over.wait(BEAT_S):
            self.send(t="hb", now=int(time.time() * 1000), subs=len(self.codes))

    def work(self, wait):
        try:
            job = self.jobs.get(timeout=wait)
        except queue.Empty:
            job = {"t": ""}
        if job["t"] == "bye":
            raise RuntimeError(job["reason"])
        self.pause = 1 if job["t"] == "ack" else self.pause
        {"hist": self.history, "sub": self.subscribe}.get(job["t"], lambda _: None)(job)
        if self.period and not self.args.subscribe and time.time() - self.polled >= POLL_S:
            self.polled = time.time()
            self.poll()

    def bars(self, code, rows, src, period, **more):
        for at in range(0, len(rows), ROWS_MAX):
            self.send(t="bars", src=src, code=code, period=period, rows=rows[at:at + ROWS_MAX], **more)
    def read(self, codes, period, **span):
        return self.xt.get_market_data_ex(field_list=FIELDS, stock_list=codes, period=period,
                                          dividend_type="none", fill_data=False, **span)

    def history(self, job):
        codes, period, sent = job["codes"], job["period"], 0
        try:
            for code in codes:
                self.xt.download_history_data(code, period, job["start"], job["end"])
            frames = self.read(codes, period, start_time=job["start"], end_time=job["end"])
        except Exception as error:
            return self.send(t="err", req=job["req"], msg=repr(error)[:500])
        for code in codes:
            rows = rows_of(frames.get(code))
            self.bars(code, rows, "history", period, req=job["req"])
            sent += len(rows)
        self.send(t="done", req=job["req"], rows=sent)

    def subscribe(self, job):
        [self.xt.unsubscribe_quote(seq) for seq in self.subs]
        self.codes, self.period, self.subs, self.sent = job["codes"], job["period"], [], {}
        for code in self.codes if self.args.subscribe else []:
            self.xt.download_history_data(code, self.period)  # a period never downloaded stays silent
            self.subs.append(self.xt.subscribe_quote(code, period=self.period, count=0, callback=self.push))
    def push(self, data):
        for code, rows in data.items():
            self.bars(code, [{n: plain(row[n]) for n in FIELDS if n in row} for row in rows], "live", self.period)
    def poll(self):
        for at in range(0, len(self.codes), CODES_MAX):
            for code, frame in self.read(self.codes[at:at + CODES_MAX], self.period, count=2).items():
                rows, before = rows_of(frame), self.sent.get(code, [])
                self.sent[code] = rows
                self.bars(code, [row for row in rows if row not in before], "live", self.period)

class Inside(object):
    """The calls of xtdata by the big QMT's ContextInfo."""
    def __init__(self, context):
        self.get_stock_list_in_sector = context.get_stock_list_in_sector
        self.get_market_data_ex = lambda field_list, stock_list, **call: context.get_market_data_ex(
            field_list, stock_list, subscribe=False, **call)
        self.download_history_data = download_history_data  # noqa: F821, a name that it gives to strategies

def init(context):
    global AGENT
    AGENT = Agent(Inside(context), options(DEFAULTS))
    context.run_time("turn", "1nSecond", "2020-01-01 00:00:00")

turn = lambda _context: AGENT.step(0.01)  # noqa: E731
if __name__ == "__main__":
    from xtquant import xtdata
    agent = Agent(xtdata, options())
    while True:
        agent.step()
