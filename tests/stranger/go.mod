module magpie/tests/stranger

go 1.25.0
