"""The churn model: a logistic regression, as strongly regularized as it needs."""

# Candidates for the strength of regularization, and parts that customers are split into to choose one.
REGULARIZATIONS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
FOLDS = 5


def fit(x, y, groups):
    """Deterministic. The strength is the one with the least log loss on customers left out."""
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    categorical = [name for name in x.columns if x[name].dtype == "object"]
    numeric = [name for name in x.columns if name not in categorical]
    columns = ColumnTransformer(
        [
            ("numbers", "passthrough", numeric),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categorical),
        ]
    )
    pipeline = Pipeline([("columns", columns), ("classifier", LogisticRegression(max_iter=1000))])
    search = GridSearchCV(
        pipeline, {"classifier__C": REGULARIZATIONS}, scoring="neg_log_loss", cv=GroupKFold(FOLDS)
    )
    return search.fit(x, y, groups=groups).best_estimator_
