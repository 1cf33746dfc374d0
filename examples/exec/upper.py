"""Items as JSON lines: writes each item's name in capitals. See config.toml beside this file."""

import json
import sys

for line in sys.stdin:
    question = json.loads(line)
    item = question["item"]
    name = item.get("name")
    if name is None:
        answer = {"error": "the field `name` is missing", "retry": False}
    elif name == "":
        answer = {"skip": True}
    else:
        answer = {"ok": {**item, "name": name.upper()}}
    # Repeating the position is optional; Gristmill checks it and so notices a lost line at once.
    answer["position"] = question["position"]
    # Without the flush the answer would wait in this process until its buffer is full.
    print(json.dumps(answer, ensure_ascii=False), flush=True)
