"""Kinds of bad input, a module for each part of the house: what a user may give us and must be told of in one sentence.

Every public function of these modules, `def what_is_bad(folder)`, makes the input in the folder and hands it over.
"""
