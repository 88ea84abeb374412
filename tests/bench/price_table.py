"""AWS's list prices for us-east-1, in US dollars, without free tiers and without discounts.

As of 2026-11-28, from the price pages of each service. A deployment elsewhere pays others.
"""

# Each: dollars for a million.
STATE_TRANSITIONS = 25.00  # Step Functions, Standard workflows
INVOCATIONS = 0.20  # Lambda requests
GIGABYTE_SECONDS = 13.3334  # Lambda on arm64
WRITE_UNITS = 0.625  # DynamoDB on demand
READ_UNITS = 0.125
HTTP_REQUESTS = 1.00  # API Gateway, HTTP API, the first 300 million a month
EVENTS = 1.00  # EventBridge, events of our own, 64 KB each
QUEUE_REQUESTS = 0.40  # SQS, standard queues
LOG_MEGABYTES = 500.00  # CloudWatch Logs, $0.50 a GB
TRACES = 5.00  # X-Ray, recorded traces
