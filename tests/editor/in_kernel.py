"""Runs cells in a kernel as an editor does, with the project's Python; what they show goes to standard output, as JSON.

Standard input has `start`, what a new kernel gets, or `connection`, the file of one that runs; `silently`, the code that an editor
runs before the first cell; and the cells: a text, or a text and what the editor calls the cell.
"""

import json
import os
import sys

from jupyter_client import BlockingKernelClient, KernelManager


def run(client, code: str, cell_id: str | None = None, silent: bool = False) -> list[str]:
    content = {"code": code, "silent": silent, "store_history": not silent, "stop_on_error": True, "allow_stdin": False}
    message = client.session.msg("execute_request", content, metadata={"cellId": cell_id} if cell_id else {})
    client.shell_channel.send(message)
    shown = []
    while True:
        heard = client.get_iopub_msg(timeout=120)
        if heard["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            continue
        kind, content = heard["msg_type"], heard["content"]
        if kind == "status" and content["execution_state"] == "idle":
            return shown
        if kind == "stream":
            shown.append(content["text"].strip())
        elif kind in ("display_data", "execute_result"):
            shown.append(content["data"]["text/plain"])
        elif kind == "error":
            shown.append(f"{content['ename']}: {content['evalue']}")


def main() -> None:
    given, manager = json.load(sys.stdin), None
    if "connection" in given:
        client = BlockingKernelClient(connection_file=given["connection"])
        client.load_connection_file()
    else:
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=given["start"]["cwd"], env=os.environ | given["start"]["env"])
        client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=120)
    for code in given.get("silently", []):
        run(client, code, silent=True)
    shown = [run(client, *([cell] if isinstance(cell, str) else cell)) for cell in given["cells"]]
    client.stop_channels()
    if manager:
        manager.shutdown_kernel(now=True)
    print(json.dumps(shown))


main()
