r"""Makes twilio_api_v2010_facts.json from Twilio's OpenAPI description.

The description (1.9 MB) is not carried by any PyPI package. It is in the public repository
twilio/twilio-oai, and in the npm package @twilio-alpha/mcp, under spec/json:

    npm pack @twilio-alpha/mcp && tar xzf twilio-alpha-mcp-*.tgz
    python tests/carrier_simulator/data/extract.py \
        package/twilio-oai/spec/json/twilio_api_v2010.json
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = "/2010-04-01/Accounts/{AccountSid}"
PARTICIPANTS = f"{ROOT}/Conferences/{{ConferenceSid}}/Participants"
RESOURCES = (
    "api.v2010.account",
    "api.v2010.account.call",
    "api.v2010.account.conference",
    "api.v2010.account.conference.participant",
    "api.v2010.account.recording",
    "api.v2010.account.message",
    "api.v2010.account.incoming_phone_number",
    "api.v2010.account.outgoing_caller_id",
)
LISTS = {
    "calls": f"{ROOT}/Calls.json",
    "conferences": f"{ROOT}/Conferences.json",
    "participants": f"{PARTICIPANTS}.json",
    "recordings": f"{ROOT}/Recordings.json",
    "messages": f"{ROOT}/Messages.json",
    "incoming_phone_numbers": f"{ROOT}/IncomingPhoneNumbers.json",
    "outgoing_caller_ids": f"{ROOT}/OutgoingCallerIds.json",
}
REQUESTS = {
    "create_call": f"{ROOT}/Calls.json",
    "update_call": f"{ROOT}/Calls/{{Sid}}.json",
    "create_participant": f"{PARTICIPANTS}.json",
    "update_participant": f"{PARTICIPANTS}/{{CallSid}}.json",
}
KEPT = ("type", "pattern", "nullable", "enum", "minLength", "maxLength")
FORMATS = ("date-time-rfc-2822", "uri", "uri-map", "currency")


def facts(description: dict[str, Any]) -> dict[str, Any]:
    schemas = description["components"]["schemas"]

    def slim(node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" in node:
            target = schemas[node["$ref"].rpartition("/")[2]]
            # The description says nullable of scalars only, yet enumerations are null too.
            return slim(target | ({"nullable": True} if "enum" in target else {}))
        out = {key: node[key] for key in KEPT if key in node}
        if node.get("format") in FORMATS:
            out["format"] = node["format"]
        if "properties" in node:
            out["properties"] = {name: slim(part) for name, part in node["properties"].items()}
        return out

    def listed(path: str) -> list[str]:
        answer = description["paths"][path]["get"]["responses"]["200"]
        return sorted(answer["content"]["application/json"]["schema"]["properties"])

    def asked(path: str) -> list[str]:
        body = description["paths"][path]["post"]["requestBody"]["content"]
        return sorted(body["application/x-www-form-urlencoded"]["schema"]["properties"])

    return {
        "about": "Facts extracted from the OpenAPI description of Twilio's api.v2010, release "
        f"{description['info']['version']} (twilio/twilio-oai, MIT licence): types, patterns and "
        "enumerations of the resources the simulator answers with, the keys of its lists, and "
        "the names of request parameters. No descriptions, no examples.",
        "schemas": {name: slim(schemas[name]) for name in RESOURCES},
        "lists": {key: listed(path) for key, path in LISTS.items()},
        "parameters": {name: asked(path) for name, path in REQUESTS.items()},
    }


if __name__ == "__main__":
    extracted = facts(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    target = Path(__file__).with_name("twilio_api_v2010_facts.json")
    target.write_text(json.dumps(extracted, indent=1, sort_keys=True) + "\n", "utf-8")
