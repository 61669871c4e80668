"""Rules about this tree's own text: layers, headings, sizes, documents.

Each rule is a function from text to a list of complaints, and each has a test that feeds it a
violation, so that a rule which stopped seeing anything fails instead of passing for ever.
"""
