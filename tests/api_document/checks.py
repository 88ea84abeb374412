"""What schemathesis cannot know of this API: loaded into its process as hooks."""

import schemathesis

# Rules that a JSON Schema cannot tell: such a body is refused although the schema allows it.
BEYOND_THE_SCHEMA = {
    "address_not_allowed",
    "emergency_number",
    "extension_without_domain",
    "invalid_cursor",
    "metadata_too_large",
    "no_endpoint",
    "same_party",
    "url_not_allowed",
}


@schemathesis.check
def a_valid_request_is_taken(ctx, response, case) -> None:  # noqa: ARG001
    """Or refused by a rule that the schema cannot tell."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if response.status_code == 400:
        problem = response.json()
        codes = {error["code"] for error in problem.get("errors", [{"code": problem["code"]}])}
        assert codes <= BEYOND_THE_SCHEMA, problem
