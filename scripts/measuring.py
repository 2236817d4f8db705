"""What the measuring scripts have in common: processes that are started, waited for and stopped, and a demo's folder."""
import http.client
import pathlib
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
START_SECONDS = 60
STOP_SECONDS = 30
LOOK_SECONDS = 0.002


def fail(message):
    sys.exit(f"scripts/{pathlib.Path(sys.argv[0]).name}: {message}")


def furnish(binary, folder):
    """Lets the demo make databases, policies and a configuration in a folder that is there."""
    command = [binary, "demo", "--dir", str(folder), "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
    stop(run(command, folder / "log", (folder / "listen.json").exists))


def run(command, log, is_done, **surroundings):
    """Starts a process and waits until it is where it should be; what it says goes to the log."""
    with open(log, "wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, **surroundings)
    deadline = time.monotonic() + START_SECONDS
    try:
        while not is_done():
            if process.poll() is not None or time.monotonic() > deadline:
                fail(f"it does not start:\n{log.read_text()}")
            time.sleep(LOOK_SECONDS)
    except BaseException:
        # Also when somebody interrupts: nobody else knows of it yet.
        process.kill()
        raise
    return process


def stop(process):
    # SIGTERM would have PostgreSQL wait for whoever is connected.
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(STOP_SECONDS)


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def is_ready(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
