"""actionlint, which checks workflows of GitHub Actions and the expressions in them: built with Go."""

import golang
import versions

PROGRAM = golang.Program(
    title="actionlint",
    package="github.com/rhysd/actionlint/cmd/actionlint",
    version=versions.ACTIONLINT,
    go=versions.ACTIONLINT_GO,
    check=("-version",),
)
