"""The branch ``git-annex`` of a repository: which repositories have which content, and git-annex's other records.

The branch holds small text files, called logs here. A change goes to the journal first, a directory with the new
content of the logs that were changed, and from there, in a commit, to the branch:

    read     journal, then branch          `Branch.read`, `Branch.locations`
    change   read, write to the journal    `Branch.log_location`
    commit   journal to index to branch    `Branch.commit`

git-annex does the same at the same time, in the same files. The lock on the journal keeps each from losing the other's
lines, and two versions of a log are merged by keeping the lines of both.

`journal`, `cat_file` and `commit` block. `branch` puts them together, for threads (`BlockingBranch`) and for trio
(`Branch`); only `Branch` imports trio.
"""
