"""Holds the room `mail/` against other programs: see scripts/mail_peers."""

import email
import email.policy
import os
import socket
import subprocess
import sys
import tempfile

import dkim
from aiosmtpd.controller import Controller

BUILT = os.environ.get("CARGO_TARGET_DIR", "target")


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def key(folder, name, *algorithm):
    path = os.path.join(folder, name)
    run("openssl", "genpkey", *algorithm, "-out", path)
    return path


def check(what, holds):
    print(("ok    " if holds else "WRONG ") + what)
    return holds


def verified(message, number, find):
    try:
        return dkim.DKIM(message).verify(idx=number, dnsfunc=find)
    except dkim.DKIMException:
        return False


def signatures(peer, record):
    """dkimpy verifies both signatures, and neither after a change."""
    with tempfile.TemporaryDirectory() as folder:
        keys = [
            key(folder, "rsa.pem", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"),
            key(folder, "ed.pem", "-algorithm", "ed25519"),
        ]
        records = {f"k{n}._domainkey.example.com.": run(record, path).strip() for n, path in enumerate(keys)}
        message = run(peer, "sign", *keys)
    find = lambda name, timeout=5: records.get(name.decode())
    for number, kind in enumerate(["rsa-sha256", "ed25519-sha256"]):
        verify = lambda text: verified(text, number, find)
        yield check(f"dkimpy verifies {kind}", verify(message))
        yield check(f"dkimpy refuses {kind} after a change", not verify(message.replace(b"Bye.", b"Bye!")))
        second = b"Subject: another\r\n" + message
        yield check(f"dkimpy refuses {kind} with a second subject", not verify(second))


class Server:
    """Takes messages, except for recipients whose address says otherwise."""

    def __init__(self):
        self.taken = []

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        if address.startswith("later"):
            return "450 4.2.0 greylisted, try again in 60 seconds"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server, session, envelope):
        self.taken.append((list(envelope.rcpt_tos), envelope.content))
        return "250 2.0.0 taken"


def messages(peer):
    """aiosmtpd takes a message for some of its recipients; Python's parser reads what we have written."""
    server = Server()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(server, hostname="127.0.0.1", port=port, decode_data=False, enable_SMTPUTF8=True)
    controller.start()
    recipients = ["ada@example.org", "nobody@example.org", "later@example.org", "jürgen@bücher.example"]
    try:
        said = run(peer, "send", str(port), *recipients)
    finally:
        controller.stop()
    rules = [line.split()[0] for line in said.decode().splitlines()]
    yield check(f"each recipient has its own answer: {rules}", rules == ["accepted", "no-such-mailbox", "greylisted", "accepted"])
    (recipients, content), = server.taken
    yield check(f"it was taken once, for {recipients}", recipients == ["ada@example.org", "jürgen@xn--bcher-kva.example"])
    read = email.message_from_bytes(content, policy=email.policy.default)
    yield check("the subject is read as it was written", str(read["subject"]).startswith("Grüße, und ein langer Betreff"))
    files = list(read.iter_attachments())
    yield check("the attachment has its name and its bytes", [(part.get_filename(), part.get_payload(decode=True)) for part in files]
                == [("Prüfbericht.csv", b"a,b\r\n.\r\n")])
    text = read.get_body(("plain",)).get_content()
    yield check("lines of dots arrive", "\n.\n..\n" in text.replace("\r\n", "\n"))


def main():
    run("cargo", "build", "--quiet", "--workspace", "--example", "peer", "--example", "dkim_record")
    peer, record = (os.path.join(BUILT, "debug", "examples", name) for name in ("peer", "dkim_record"))
    results = list(signatures(peer, record)) + list(messages(peer))
    sys.exit(0 if all(results) else 1)


main()
