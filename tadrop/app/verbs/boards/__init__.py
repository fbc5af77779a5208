"""What is shown of boards, a verb a file: tables, leaderboards,
the whole of results/.
"""
