"""Holds documents against the schemas of Kubernetes and of operators, and prints what is wrong, a line each.

Usage: validate.py OPERATOR_SCHEMAS[,OPERATOR_SCHEMAS...] VERSION... < JSON, an array of documents
"""

import json
import sys

import jsonschema
import kubernetes_validate
import yaml


def strict(schema):
    """The schema, with members refused that it does not know."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not is_open:
        schema.setdefault("additionalProperties", False)
    return schema


def problem(document, versions, ours):
    """What is wrong with a document; None if nothing is."""
    kind = document.get("kind")
    try:
        if kind in ours:
            # What every object has is Kubernetes's own business.
            rest = {**document, "metadata": {}}
            jsonschema.Draft202012Validator(ours[kind]).validate(rest)
            return None
        for version in versions:
            kubernetes_validate.validate(document, version, strict=True)
    except jsonschema.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        return f"{path}: {error.message}"
    except kubernetes_validate.SchemaNotFoundError as error:
        return error.message
    return None


def main():
    schemas, *versions = sys.argv[1:]
    ours = {}
    for name in schemas.split(","):
        with open(name, encoding="utf-8") as file:
            ours |= {kind: strict(schema) for kind, schema in yaml.safe_load(file).items()}
    for document in json.load(sys.stdin):
        found = problem(document, versions, ours)
        if found:
            name = document.get("metadata", {}).get("name")
            print(f"{document.get('kind')} {name}: {found}")


main()
