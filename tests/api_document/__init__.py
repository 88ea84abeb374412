"""The API's document, and schemathesis to hold the API to it."""

# Of the local stack: virtual seconds in a real one.
SPEED = 50
