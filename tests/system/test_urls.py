"""The real program on a list of URLs, and on a terminal: its first lines, and its end when the terminal is closed."""

import json
import os
import pty
import re
import subprocess
from pathlib import Path

from tests.support.controller import COMMAND, Controller, environment
from tests.support.net import until
from tests.support.targets import Target, answer


def states(controller: Controller) -> dict[str, str]:
    return {
        f"{each['node']}/{each['pod']}": each["state"]
        for each in json.loads(controller.get("/api/v1/pods").text)["pods"]
    }


def test_urls_are_checked_without_consul_and_a_file_of_them_may_change(target: Target, tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text(f"http://web1:{target.port}/a\ntcp://web2:{target.port}\n")
    one, two = f"web1/http-{target.port}-a", f"web2/tcp-{target.port}"
    with Controller(urls=f"http://web1:{target.port}/b", urls_file=str(file)) as controller:
        other = f"web1/http-{target.port}-b"
        until(lambda: states(controller) == {one: "passing", two: "passing", other: "passing"})
        assert f"checking a list of URLs; page and metrics on port {controller.port}" in controller.log
        assert f'probe_success{{node="web2",pod="tcp-{target.port}"}} 1' in controller.get("/metrics").text
        assert controller.get(f"/pods/{one}").status == 200
        target.behave(answer(503), "/a")
        until(lambda: states(controller)[one] == "critical")
        file.write_text(f"http://web1:{target.port}/a\nhttp:/web2\n")
        until(lambda: "'http:/web2': expected a URL such as" in controller.log)
        assert states(controller).keys() == {one, two, other}
        file.write_text(f"http://web1:{target.port}/a\n")
        until(lambda: states(controller).keys() == {one, other})
        assert controller.terminate() == 0
        controller.start()
        until(lambda: states(controller) == {one: "critical", other: "passing"})
        assert controller.terminate() == 0
        controller.options.pop("urls")
        file.write_text("# none\n")
        controller.start()
        page = controller.get("/").text
        assert f"The list of URLs in {file} has no URL yet." in page
        assert "No pod has a manifest" not in page


def test_on_a_terminal_it_says_what_it_does_and_ends_with_the_terminal(target: Target, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    command = [
        "setsid",
        "--ctty",
        *COMMAND,
        "run",
        "--url",
        f"http://127.0.0.1:{target.port}/",
        "--listen",
        "127.0.0.1:0",
    ]
    environ = environment() | {"STATE_DIRECTORY": str(tmp_path)}
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        said = b""
        while b"Ctrl-C" not in said:
            said += os.read(ours, 4096)
        shown = said.decode()
        assert re.search(r"Podpulse \S+ checks a list of URLs\r\n  manifests +the URLs given", shown)
        assert shown.startswith("Podpulse "), "no line of the log comes first"
        assert re.search(r"  page +http://127\.0\.0\.1:\d+\r\n", shown)
        os.close(ours)
        until(lambda: process.poll() is not None, 60.0, "the end of the controller")
        assert process.returncode == 0
