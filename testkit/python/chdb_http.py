"""ClickHouse's HTTP interface in front of chDB, which is the real engine as a library.

Knows how clients speak to ClickHouse and how servers fail; must not know any table. Prints one line when it answers:
the port, the engine's version and the port of TLS. Ends when its standard input does, so that it never outlives who
started it.

    python chdb_http.py FOLDER [PORT]

Not as a server: four statements at a time, no replicas, no rights beyond a user and a password (environment variables
FRONT_USER and FRONT_PASSWORD). FRONT_WITHOUT names settings (comma separated) that it does not know, as an older server,
FRONT_VERSION the version it says it is, and FRONT_SETTINGS (NAME=VALUE, comma separated) what it does where a statement says
nothing. With FRONT_TLS, two files (certificate and key, comma separated), it listens on
a port with TLS as well.

POST /faults takes a list of faults, each {"match": regular expression on the statement, "times": n, "do": …}:
    drop    the connection is closed and nothing done
    lose    the statement is done and its answer lost
    delay   {"ms": n} before the statement is done, or until the list of faults is another
    code    {"code": n, "text": …} instead of doing it, with status 500
    break   after {"bytes": n} of an insert the connection is closed; the engine does with them what the insert's settings say
    cut     the first {"rows": n} of an insert are written, in blocks of their own, and the connection is closed
    die     the same, and the server is no more
    hold    the same, but the connection stays open for {"ms": n}, or until its client or the list of faults goes
POST /said takes a regular expression and tells how many statements, each with its settings, it was found in. GET /held
tells how many inserts are held.
"""

import base64
import contextlib
import email.parser
import email.policy
import http.server
import json
import os
import queue
import re
import signal
import socket
import ssl
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
# A server that cuts what it is given, whatever it was told.
SMALL_BLOCKS = {"max_insert_block_size": "500", "min_insert_block_size_rows": "0", "min_insert_block_size_bytes": "0"}
WIDTHS = {"Bool": 1, "Date": 2, "DateTime": 4, "Float64": 8, "Int32": 4, "UInt16": 2, "UInt64": 8}
LOOK_S = 0.01
# Statements at a time. A server does more of them; what is measured here has two cores.
CONNECTIONS = 4


class Refusal(Exception):
    """An exception of the engine, or one made up to look like it."""


class Gone(Exception):
    """Nobody listens any more."""


class Engine:
    """The engine, as many statements at a time as it has connections."""

    def __init__(self, folder, without):
        self.idle = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self.idle.put(Connection(session.Session(folder), without))
        self.faults = []
        self.said = []
        self.held = 0

    @contextlib.contextmanager
    def connection(self):
        """One that nobody else uses; mostly the one that was used last, whose settings are still those."""
        connection = self.idle.get()
        try:
            yield connection
        finally:
            self.idle.put(connection)

    def fault(self, statement, *kinds):
        """The first fault of these kinds that is meant for this statement, used up by it."""
        for fault in self.faults:
            if fault["do"] in kinds and fault.get("times", 1) > 0 and re.search(fault.get("match", ""), statement):
                fault["times"] = fault.get("times", 1) - 1
                return fault
        return None

    def run(self, statement, output="TabSeparated", **words):
        """Runs a statement as `words` (database, settings, parameters) say."""
        with self.connection() as connection:
            return connection.run(statement, output, words)

    def insert(self, head, form, body, **words):
        """Feeds an insert."""
        with self.connection() as connection:
            connection.insert(head, form, body, words)


class Connection:
    """What does one statement at a time."""

    def __init__(self, opened, without):
        self.session = opened
        self.without = without
        self.surroundings = Surroundings(self)

    def run(self, statement, output, words):
        """Runs a statement."""
        for name in ("settings", "merge_tree_settings"):
            if self.without:
                hidden = ", ".join(f"'{word}'" for word in self.without)
                statement = statement.replace(
                    f"system.{name}", f"(SELECT * FROM system.{name} WHERE name NOT IN ({hidden}))"
                )
        self.surroundings.become(words)
        return self.ask(statement, output, words.get("parameters"))

    def insert(self, head, form, body, words):
        """Feeds an insert."""
        self.surroundings.become(words)
        before = self.errors()
        try:
            with self.session.send_insert(head, form) as stream:
                for piece in body:
                    stream.append(piece)
                stream.finish()
        except RuntimeError as error:
            raise Refusal(str(error)) from error
        # What the table itself refuses is not said by `finish`; the engine counts it. It does not say whose it is either:
        # an insert that another statement fails beside is refused too, as one whose answer is lost.
        for code, (count, text) in self.errors().items():
            if count != before.get(code, (0, ""))[0]:
                raise Refusal(f"Code: {code}. DB::Exception: {text}")

    def errors(self):
        """Exceptions so far: how many of each code, and the last one's words."""
        lines = self.ask("SELECT code, value, last_error_message FROM system.errors WHERE value > 0").decode().splitlines()
        return {code: (value, text) for code, value, text in (line.split("\t", 2) for line in lines)}

    def ask(self, statement, output="TabSeparated", parameters=None):
        try:
            answer = self.session._conn.query(statement, output, params=parameters or {})
        except Exception as error:
            raise Refusal(str(error)) from error
        return answer.bytes() if answer else b""


class Surroundings:
    """Database and settings of the statements. They stay as they are: the next one mostly asks for the same."""

    def __init__(self, connection):
        self.connection = connection
        self.settings = {}

    def become(self, words):
        """As a request's words say."""
        settings = words.get("settings", {})
        for name in settings:
            if name in self.connection.without:
                raise Refusal(f"Code: 115. DB::Exception: Unknown setting '{name}'. (UNKNOWN_SETTING)")
        self.connection.ask(f"USE `{words.get('database') or 'default'}`")
        if settings == self.settings:
            return
        self.take_back(self.settings)
        self.settings = settings
        try:
            self.say(settings)
        except Refusal:
            self.take_back(settings)
            raise

    def take_back(self, names):
        """As if they had not been set."""
        self.settings = {}
        try:
            self.say(dict.fromkeys(names))
        except Refusal:
            # One of them is none: the others all the same.
            for name in names:
                with contextlib.suppress(Refusal):
                    self.say({name: None})

    def say(self, settings):
        """All of them in one statement."""
        if settings:
            self.connection.ask("SET " + ", ".join(f"{name} = {literal(value)}" for name, value in settings.items()))


def literal(value):
    if value is None:
        return "DEFAULT"
    value = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{value}'"


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


def first_rows(body, form, count):
    """The beginning of a body, up to its row `count`."""
    if form != "RowBinaryWithNamesAndTypes":
        raise Refusal(f"Code: 48. DB::Exception: rows of {form} are not told apart here. (NOT_IMPLEMENTED)")
    columns, at = varint(body, 0)
    for _ in range(columns):
        _, at = text(body, at)
    kinds = []
    for _ in range(columns):
        kind, at = text(body, at)
        kinds.append(kind.decode())
    for _ in range(count):
        if at == len(body):
            break
        for kind in kinds:
            at = after(body, at, kind)
    return body[:at]


def varint(body, at):
    value, shift = 0, 0
    while True:
        value |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if body[at - 1] < 0x80:
            return value, at


def text(body, at):
    size, at = varint(body, at)
    return body[at : at + size], at + size


def after(body, at, kind):
    """Where a value ends."""
    if kind.startswith("Nullable("):
        return at + 1 if body[at] else after(body, at + 1, kind[9:-1])
    if kind in ("String", "LowCardinality(String)"):
        return text(body, at)[1]
    return at + WIDTHS[kind.partition("(")[0]]


class Front(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 120
    engine = None
    user = ""
    password = ""
    version = ""
    own = {}

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
        if url.path == "/said":
            what = re.compile(b"".join(self.body()).decode())
            return self.answer(200, str(sum(1 for each in self.engine.said if what.search(each))).encode())
        if url.path == "/held":
            return self.answer(200, str(self.engine.held).encode())
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
            "settings": {**self.own, **{k: v for k, v in given.items() if k not in WORDS and not k.startswith("param_")}},
            "parameters": parameters,
        }
        text = given.get("query", "")
        head = INSERT.match(text)
        if not head:
            text += self.rest(parameters)
            head = INSERT.match(text)
        settings = ", ".join(f"{name}={value}" for name, value in words["settings"].items())
        self.engine.said.append(f"{text} WITH {settings}")
        if (early := self.engine.fault(text, "drop", "delay", "code")) is not None:
            if early["do"] == "drop":
                raise Gone
            if early["do"] == "code":
                raise Refusal(f"Code: {early['code']}. DB::Exception: {early.get('text', 'as asked for')}. (FAULT)")
            self.wait(time.monotonic() + early["ms"] / 1000)
        if self.version and text.strip() == "SELECT version()":
            return f"{self.version}\n".encode()
        if head and text == given.get("query"):
            answer = self.feed(head, given, words)
        else:
            answer = self.engine.run(text, given.get("default_format", "TabSeparated"), **words)
        if self.engine.fault(text, "lose"):
            raise Gone
        return answer

    def wait(self, end):
        """Does nothing until its time is over, or the list of faults is another."""
        faults = self.engine.faults
        while time.monotonic() < end and faults is self.engine.faults:
            time.sleep(LOOK_S)

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
        fault = self.engine.fault(head.group(0), "break", "cut", "die", "hold")
        if fault and fault["do"] != "break":
            self.keep(head, b"".join(body), fault, words)
            raise Gone
        self.engine.insert(head.group(1), head.group(2), broken(body, fault["bytes"]) if fault else body, **words)
        return b""

    def keep(self, head, body, fault, words):
        """Writes the first rows of an insert in blocks of their own, under the insert's own settings; then what is to go wrong."""
        words["settings"] = {**words["settings"], **SMALL_BLOCKS}
        if fault["rows"]:
            self.engine.insert(head.group(1), head.group(2), [first_rows(body, head.group(2), fault["rows"])], **words)
        if fault["do"] == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if fault["do"] == "hold":
            self.hold(time.monotonic() + fault["ms"] / 1000)

    def hold(self, end):
        """Says nothing until its time is over, its client is gone, or the list of faults is another."""
        faults, self.engine.held = self.engine.faults, self.engine.held + 1
        self.connection.settimeout(LOOK_S)
        while time.monotonic() < end and faults is self.engine.faults:
            try:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    break
            except TimeoutError:
                pass
        self.engine.held -= 1

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


def broken(body, left):
    """The first bytes of a body, then the end."""
    for piece in body:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            break
    raise Gone


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
    Front.version = os.environ.get("FRONT_VERSION", "")
    Front.own = dict(word.split("=") for word in os.environ.get("FRONT_SETTINGS", "").split(",") if word)
    server = Server(("127.0.0.1", port), Front)
    version = Front.engine.run("SELECT version()").decode().strip()
    threading.Thread(target=end_with_parent, daemon=True).start()
    print(server.server_address[1], version, encrypted(), flush=True)
    server.serve_forever()


def encrypted():
    """Listens with TLS as well, where there is a certificate; the port, or nothing."""
    if not (files := os.environ.get("FRONT_TLS")):
        return ""
    server = Server(("127.0.0.1", 0), Front)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files.split(","))
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


if __name__ == "__main__":
    main()
