"""Counts what was answered to each command, from reports in the HTTP Archive format.

Ends with an error when a command was never carried out, or never refused: then the run would have
tested little, whatever it found.
"""

import collections
import json
import sys
import urllib.parse

COMMANDS = {
    "follow_add",
    "follow_delete",
    "follow_check",
    "follow_get",
    "follow_get_info",
    "account_import",
    "multiaccount_import",
    "account_delete",
    "account_check",
}


def answers(path):
    with open(path, encoding="utf-8") as file:
        entries = json.load(file)["log"]["entries"]
    for entry in entries:
        command = urllib.parse.urlsplit(entry["request"]["url"]).path.rsplit("/", 1)[-1]
        text = entry["response"]["content"].get("text")
        if command in COMMANDS and text:
            yield command, json.loads(text)


def main():
    counted = collections.defaultdict(collections.Counter)
    for path in sys.argv[1:]:
        for command, answer in answers(path):
            counted[command][answer["ErrorCode"]] += 1
            for item in answer.get("ResultItem", answer.get("FollowInfo", [])):
                counted["items of " + command][item["ResultCode"]] += 1
    for name, codes in sorted(counted.items()):
        print(name, *(f"{code}: {count}" for code, count in sorted(codes.items())), sep="  ")
    for command in sorted(COMMANDS):
        codes = counted[command]
        if codes[0] == 0 or len(codes) == 1:
            sys.exit(f"{command} was not answered in both ways")


main()
