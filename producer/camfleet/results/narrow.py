"""Tables without the parts of a column that nobody reads."""

from collections.abc import Container

import pyarrow as pa


def without_fields(table: pa.Table, column: str, names: Container[str]) -> pa.Table:
    """Return a table whose lists of structs in a column lack the fields of these names."""
    place = table.schema.get_field_index(column)
    fields = [
        field for field in table.schema.field(place).type.value_type if field.name not in names
    ]
    narrow = table[column].cast(pa.list_(pa.struct(fields)))
    return table.set_column(place, column, narrow)
