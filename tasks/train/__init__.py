"""Fine-tune a base on the train side: a linear probe first, then, if asked, the encoder under it.

python -m tasks.train TRAIN.parquet VAL.parquet START.json MODEL_FOLDER REPORT_FOLDER WORK_FOLDER

fit.py          the story: probe, fine-tuning, refit; or, from an earlier version, new rows and a share of the old
champion.py     the version that training continues from, if START.json names one
probe.py        logistic regression on frozen vectors
loop.py         the optimisation itself
checkpoint.py   how a killed run goes on to the same bits
"""
