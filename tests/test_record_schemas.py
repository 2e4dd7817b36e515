"""What is said of the records is what they are: the schemas that ship, and the fields in docs/templates.md."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import record_schemas

from pytest_prunegate.resources import resource_path

AGAIN = "run `python tools/record_schemas.py`"


@pytest.mark.parametrize("name", record_schemas.DOCUMENTS)
def test_a_schema_is_that_of_its_record(name: str) -> None:
    shipped = resource_path(f"{name}.schema.json").read_text(encoding="utf-8")
    assert record_schemas.schema_text(name) == shipped, AGAIN


def test_the_page_lists_the_fields_of_all_records_that_a_template_sees() -> None:
    assert record_schemas.page() == record_schemas.PAGE.read_text(encoding="utf-8"), AGAIN


def test_a_field_that_nobody_described_is_told() -> None:
    @dataclass
    class Short:
        """A record.

        Attributes:
            one: It is described.
        """

        one: int
        two: int

    with pytest.raises(ValueError, match="Short has the fields one, two; its docstring names one"):
        record_schemas.described(Short)
