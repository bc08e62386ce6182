import os
import socket
import subprocess
import sys

from retune.system import process_identity


def test_a_process_is_alive_until_it_ends():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    name = process_identity.name(child.pid)
    assert process_identity.alive(name) and process_identity.number(name) == child.pid
    child.kill()
    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended and is not buried
    assert not process_identity.alive(name)
    child.wait()
    assert not process_identity.alive(name)


def test_a_number_that_was_given_out_again_is_another_process():
    identity = process_identity.name()
    assert process_identity.alive(identity)
    assert not process_identity.alive(identity[:-1] + ("0" if identity[-1] != "0" else "1"))


def test_a_process_of_another_machine_is_not_ours_to_judge():
    elsewhere = process_identity.name().replace(socket.gethostname(), "elsewhere")
    assert not process_identity.here(elsewhere) and not process_identity.alive(elsewhere)


def test_a_torn_name_names_nothing():
    for torn in ("", "host", f"{socket.gethostname()} ", f"{socket.gethostname()} x@1", f"{socket.gethostname()} 1@"):
        assert not process_identity.alive(torn)
