"""What is taken from a page as commands and as files."""

from __future__ import annotations

import pytest

from polyglot.new_projects.page import Step, section, steps

PAGE = """# Languages

## Go

Text.

    go mod init x
    cd x

    go get y

```go
// main.go
package main
```

```go
not a file
```

```xml
<!-- a/pom.xml -->
<project/>
```

- an item
    that goes on

    go run .

## C++

```sh
not run
```
"""


def test_commands_and_files_in_order() -> None:
    assert [
        Step("go mod init x\ncd x\n\ngo get y\n"),
        Step("// main.go\npackage main\n", "main.go"),
        Step("<project/>\n", "a/pom.xml"),
        Step("go run .\n"),
    ] == steps(section(PAGE, "Go"))


def test_a_section_without_steps() -> None:
    assert [] == steps(section(PAGE, "C++"))


def test_no_such_section() -> None:
    with pytest.raises(ValueError, match="the page has no section 'Java'"):
        section(PAGE, "Java")
