"""Run by the scanners' own Python: parliament's findings on policies, as JSON.

stdin: {name: policy document}; stdout: [[issue, name, what parliament says], ...].
"""

import json
import sys

from parliament import analyze_policy_string

findings = [
    [finding.issue, name, str(finding.detail)]
    for name, policy in json.load(sys.stdin).items()
    for finding in analyze_policy_string(json.dumps(policy)).findings
]
json.dump(findings, sys.stdout)
