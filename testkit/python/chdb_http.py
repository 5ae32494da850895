"""ClickHouse's HTTP interface in front of chDB, which is the real engine as a library.

Knows how clients speak to ClickHouse and how servers fail; must not know any table. Prints one line when it answers:
the port and the engine's version. Ends when its standard input does, so that it never outlives who started it.

    python chdb_http.py FOLDER [PORT]

Not as a server: one statement at a time, no replicas, no rights beyond a user and a password (environment variables
FRONT_USER and FRONT_PASSWORD). FRONT_WITHOUT names settings (comma separated) that it does not know, as an older server.

POST /faults takes a list of faults, each {"match": regular expression on the statement, "times": n, "do": …}:
    drop    the connection is closed and nothing done
    lose    the statement is done and its answer lost
    delay   {"ms": n} before the statement is done
    code    {"code": n, "text": …} instead of doing it, with status 500
    cut     after {"bytes": n} of an insert the connection is closed, as by a network that breaks
    die     after {"bytes": n} of an insert the server is no more
"""

import base64
import email.parser
import email.policy
import http.server
import json
import os
import re
import signal
import struct
import sys
import threading
import time
import urllib.parse

import lz4.block
from chdb import session

# What a request says about itself, as against settings of the statement.
WORDS = {
    "query", "database", "default_format", "decompress", "compress", "user", "password", "quota_key", "session_id",
    "query_id", "wait_end_of_query", "buffer_size", "enable_http_compression", "role",
}
INSERT = re.compile(r"^\s*(INSERT\s+INTO\s.*?)\s+FORMAT\s+(\w+)\s*$", re.IGNORECASE | re.DOTALL)
CODE = re.compile(r"Code: (\d+)")
# Blocks so small that a broken insert leaves some of its rows, as it does on a server.
SMALL_BLOCKS = {"max_insert_block_size": "500", "min_insert_block_size_rows": "0", "min_insert_block_size_bytes": "0"}


class Refusal(Exception):
    """An exception of the engine, or one made up to look like it."""


class Gone(Exception):
    """Nobody listens any more."""


class Engine:
    """The engine, one statement at a time."""

    def __init__(self, folder, without):
        self.session = session.Session(folder)
        self.without = without
        self.lock = threading.Lock()
        self.faults = []

    def fault(self, statement, *kinds):
        """The first fault of these kinds that is meant for this statement, used up by it."""
        for fault in self.faults:
            if fault["do"] in kinds and fault.get("times", 1) > 0 and re.search(fault.get("match", ""), statement):
                fault["times"] = fault.get("times", 1) - 1
                return fault
        return None

    def run(self, statement, output="TabSeparated", **words):
        """Runs a statement as `words` (database, settings, parameters) say."""
        for name in ("settings", "merge_tree_settings"):
            if self.without:
                hidden = ", ".join(f"'{word}'" for word in self.without)
                statement = statement.replace(
                    f"system.{name}", f"(SELECT * FROM system.{name} WHERE name NOT IN ({hidden}))"
                )
        with self.lock, Surroundings(self, words):
            return self.ask(statement, output, words.get("parameters"))

    def insert(self, head, form, body, small=False, **words):
        """Feeds an insert; nothing of what was not finished is meant to stay."""
        if small:
            words["settings"] = {**words.get("settings", {}), **SMALL_BLOCKS}
        with self.lock, Surroundings(self, words):
            try:
                with self.session.send_insert(head, form) as stream:
                    for piece in body:
                        stream.append(piece)
                    stream.finish()
            except RuntimeError as error:
                raise Refusal(str(error)) from error

    def ask(self, statement, output="TabSeparated", parameters=None):
        try:
            answer = self.session._conn.query(statement, output, params=parameters or {})
        except Exception as error:
            raise Refusal(str(error)) from error
        return answer.bytes() if answer else b""


class Surroundings:
    """Database and settings of one statement, put back after it."""

    def __init__(self, engine, words):
        self.engine = engine
        self.database = words.get("database") or "default"
        self.settings = words.get("settings", {})

    def __enter__(self):
        for name in self.settings:
            if name in self.engine.without:
                raise Refusal(f"Code: 115. DB::Exception: Unknown setting '{name}'. (UNKNOWN_SETTING)")
        self.engine.ask(f"USE `{self.database}`")
        self.set = []
        try:
            for name, value in self.settings.items():
                value = value.replace("\\", "\\\\").replace("'", "\\'")
                self.engine.ask(f"SET {name} = '{value}'")
                self.set.append(name)
        except Refusal:
            self.__exit__()
            raise

    def __exit__(self, *_):
        for name in self.set:
            self.engine.ask(f"SET {name} = DEFAULT")


def unpacked(stream):
    """The content of LZ4 blocks as ClickHouse frames them: checksum of 16 bytes, method, both sizes, data."""
    rest = b""
    for piece in stream:
        rest += piece
        while len(rest) >= 25:
            method, packed, size = struct.unpack_from("<BII", rest, 16)
            if len(rest) < 16 + packed:
                break
            data, rest = rest[25 : 16 + packed], rest[16 + packed :]
            yield lz4.block.decompress(data, uncompressed_size=size) if method == 0x82 else data
    if rest:
        raise Refusal("Code: 33. DB::Exception: Cannot read all data. (CANNOT_READ_ALL_DATA)")


class Front(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120
    engine = None
    user = ""
    password = ""

    def log_message(self, *_):
        pass

    def body(self):
        """The body in pieces, however it comes."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while True:
                size = self.rfile.readline().split(b";")[0].strip()
                if not size:
                    raise Gone
                size = int(size, 16)
                if size == 0:
                    self.rfile.readline()
                    return
                yield self.exactly(size)
                self.rfile.readline()
        left = int(self.headers.get("Content-Length") or 0)
        while left:
            piece = self.exactly(min(left, 1 << 20))
            left -= len(piece)
            yield piece

    def exactly(self, size):
        piece = self.rfile.read(size)
        if len(piece) < size:
            raise Gone
        return piece

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        try:
            self.serve()
        except Gone:
            self.close_connection = True
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/ping":
            return self.answer(200, b"Ok.\n")
        if url.path == "/faults":
            self.engine.faults = json.loads(b"".join(self.body()))
            return self.answer(200, b"")
        given = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            self.admit(given)
            answer = self.statement(given)
        except Refusal as error:
            text = str(error)
            code = CODE.search(text)
            # What was not read of the body would be taken for the next request.
            self.close_connection = True
            return self.answer(500, text.encode(), code.group(1) if code else "1002")
        if answer is not None:
            self.answer(200, answer)

    def admit(self, given):
        user = self.headers.get("X-ClickHouse-User") or given.get("user")
        password = self.headers.get("X-ClickHouse-Key") or given.get("password")
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            user, _, password = base64.b64decode(basic[6:]).decode().partition(":")
        if self.user and ((user or "default"), (password or "")) != (self.user, self.password):
            raise Refusal(
                f"Code: 516. DB::Exception: {user or 'default'}: Authentication failed: password is incorrect, or "
                "there is no user with such name. (AUTHENTICATION_FAILED)"
            )

    def statement(self, given):
        """Runs what is asked for; None: no answer, the connection ends."""
        parameters = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
        words = {
            "database": given.get("database"),
            "settings": {k: v for k, v in given.items() if k not in WORDS and not k.startswith("param_")},
            "parameters": parameters,
        }
        text = given.get("query", "")
        head = INSERT.match(text)
        if not head:
            text += self.rest(parameters)
            head = INSERT.match(text)
        if (early := self.engine.fault(text, "drop", "delay", "code")) is not None:
            if early["do"] == "drop":
                raise Gone
            if early["do"] == "code":
                raise Refusal(f"Code: {early['code']}. DB::Exception: {early.get('text', 'as asked for')}. (FAULT)")
            time.sleep(early["ms"] / 1000)
        if head and text == given.get("query"):
            answer = self.feed(head, given, words)
        else:
            answer = self.engine.run(text, given.get("default_format", "TabSeparated"), **words)
        if self.engine.fault(text, "lose"):
            raise Gone
        return answer

    def rest(self, parameters):
        """The statement where it stands in the body, alone or beside its parameters."""
        body = b"".join(self.body())
        kind = self.headers.get("Content-Type", "")
        if not kind.startswith("multipart/form-data"):
            return body.decode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
            b"Content-Type: " + kind.encode() + b"\r\n\r\n" + body
        )
        query = ""
        for part in message.iter_parts():
            name = part.get_param("name", header="content-disposition")
            value = part.get_payload(decode=True).decode()
            if name == "query":
                query = value
            elif name.startswith("param_"):
                parameters[name[6:]] = value
        return query

    def feed(self, head, given, words):
        body = self.body()
        if given.get("decompress") == "1":
            body = unpacked(body)
        fault = self.engine.fault(head.group(0), "cut", "die")
        if fault:
            body = self.broken(body, fault)
        self.engine.insert(head.group(1), head.group(2), body, small=fault is not None, **words)
        return b""

    @staticmethod
    def broken(body, fault):
        """The first bytes of a body, then the end."""
        left = fault.get("bytes", 0)
        for piece in body:
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                break
        if fault["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise Gone

    def answer(self, status, body, code=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        if code:
            self.send_header("X-ClickHouse-Exception-Code", code)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)


def end_with_parent():
    """Whoever started this holds the other end of standard input."""
    sys.stdin.buffer.read()
    os._exit(0)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A client that is gone is no news; anything else is a fault of this file."""
        if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def main():
    folder, port = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0
    without = [name for name in os.environ.get("FRONT_WITHOUT", "").split(",") if name]
    Front.engine = Engine(folder, without)
    Front.user = os.environ.get("FRONT_USER", "")
    Front.password = os.environ.get("FRONT_PASSWORD", "")
    server = Server(("127.0.0.1", port), Front)
    version = Front.engine.run("SELECT version()").decode().strip()
    threading.Thread(target=end_with_parent, daemon=True).start()
    print(server.server_address[1], version, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
