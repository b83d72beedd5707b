"""The analyses of the paper, one a file: from the values of a set of videos to tables and pictures.

A file with a function `analyse(study)`, which gives a `Report`, is an analysis; `study.every_analysis` finds it. Its
`page(tables)` makes what the page of results shows out of its tables. The other files are what analyses share.
"""
