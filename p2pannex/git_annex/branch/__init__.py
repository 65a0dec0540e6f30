"""The branch ``git-annex`` of a repository: it records which repositories have which content, and more.

The branch has small text files, which are called logs here. The journal is a directory with the new content of the logs
that have changed since the last commit. A change is written to the journal first; a commit moves it to the branch:

    read     journal, otherwise branch     `Branch.read`, `Branch.locations`
    change   read, write to the journal    `Branch.log_location`
    commit   journal to index to branch    `Branch.commit`

git-annex may change the same files at the same time. The lock on the journal keeps p2pannex and git-annex from losing
each other's lines. Two versions of a log are merged by keeping the lines of both.

The functions of `journal`, `cat_file` and `commit` block. `branch` combines them: `BlockingBranch` is for threads, and
`Branch` for trio.
"""
