"""Crystal-structure prototypes and the plausible chemistries that decorate them."""

import random
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import spglib
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.neighborlist import primitive_neighbor_list
from ase.spacegroup import crystal
from pymatgen.core import Element, Species

# name | space group (":2" marks origin choice 2) | b/a c/a [alpha beta gamma] | label x y z; ...
# Labels are the sublattices; their order is also the order of the elements in a formula.
PROTOTYPE_TABLE = """
fcc            | 225   | 1 1          | A 0 0 0
bcc            | 229   | 1 1          | A 0 0 0
hcp            | 194   | 1 1.61       | A 1/3 2/3 1/4
dhcp           | 194   | 1 3.23       | A 0 0 0; A 1/3 2/3 1/4
simple-cubic   | 221   | 1 1          | A 0 0 0
diamond        | 227   | 1 1          | A 0 0 0
beta-tin       | 141   | 1 0.546      | A 0 0 0
indium         | 139   | 1 1.52       | A 0 0 0
mercury        | 166   | 1 1.93       | A 0 0 0
arsenic        | 166   | 1 2.62       | A 0 0 0.229
selenium       | 152   | 1 1.14       | A 0.225 0 1/3
gallium        | 64    | 1.695 1.001  | A 0 0.155 0.081
black-phosphorus | 64  | 3.17 1.32    | A 0 0.1017 0.0806
alpha-uranium  | 63    | 2.06 1.737   | A 0 0.1025 0.25
graphite       | 194   | 1 2.72       | A 0 0 1/4; A 1/3 2/3 1/4
alpha-boron    | 166   | 1 2.56       | A 0.1188 0.2376 0.8912; A 0.1968 0.3936 0.0242
beta-tungsten  | 223   | 1 1          | A 0 0 0; A 1/4 0 1/2
rocksalt       | 225   | 1 1          | A 0 0 0; B 1/2 1/2 1/2
cesium-chloride | 221  | 1 1          | A 0 0 0; B 1/2 1/2 1/2
zincblende     | 216   | 1 1          | A 0 0 0; B 1/4 1/4 1/4
wurtzite       | 186   | 1 1.62       | A 1/3 2/3 0; B 1/3 2/3 0.377
nickel-arsenide | 194  | 1 1.45       | A 0 0 0; B 1/3 2/3 1/4
tungsten-carbide | 187 | 1 0.97       | A 0 0 0; B 1/3 2/3 1/2
L1_0           | 123   | 1 1.35       | A 0 0 0; B 1/2 1/2 1/2
sodium-thallide | 227  | 1 1          | A 0 0 0; B 1/2 1/2 1/2
litharge       | 129   | 1 1.27       | A 0 1/2 0.24; B 0 0 0
tin-sulfide    | 62    | 0.348 0.411  | A 0.1211 1/4 0.1056; B 0.8509 1/4 0.5029
manganese-phosphide | 62 | 0.603 1.125 | A 0.0049 1/4 0.1965; B 0.1878 1/4 0.5686
iron-silicide  | 198   | 1 1          | A 0.137 0.137 0.137; B 0.842 0.842 0.842
chromium-boride | 63   | 2.65 0.987   | A 0 0.146 1/4; B 0 0.440 1/4
iron-boride    | 62    | 0.536 0.738  | A 0.180 1/4 0.120; B 0.036 1/4 0.610
boron-nitride  | 194   | 1 2.66       | A 1/3 2/3 1/4; B 1/3 2/3 3/4
gallium-selenide | 194 | 1 4.25       | A 1/3 2/3 0.175; B 1/3 2/3 0.602
cooperite      | 131   | 1 1.76       | A 0 1/2 0; B 0 0 1/4
fluorite       | 225   | 1 1          | A 0 0 0; B 1/4 1/4 1/4
antifluorite   | 225   | 1 1          | A 1/4 1/4 1/4; B 0 0 0
rutile         | 136   | 1 0.65       | A 0 0 0; B 0.305 0.305 0
calcium-chloride | 58  | 1.031 0.674  | A 0 0 0; B 0.275 0.325 0
anatase        | 141   | 1 2.51       | A 0 0 0; B 0 0 0.208
baddeleyite    | 14    | 1.012 1.031 90 99.2 90 | A 0.276 0.041 0.208; \
B 0.070 0.332 0.345; B 0.450 0.757 0.479
quartz         | 154   | 1 1.10       | A 0.470 0 2/3; B 0.4135 0.2669 0.7858
cristobalite   | 227   | 1 1          | A 0 0 0; B 1/8 1/8 1/8
cadmium-iodide | 164   | 1 1.62       | A 0 0 0; B 1/3 2/3 1/4
cadmium-chloride | 166 | 1 4.60       | A 0 0 0; B 0 0 0.252
anti-cadmium-chloride | 166 | 1 5.20  | A 0 0 0.268; B 0 0 0
molybdenite    | 194   | 1 3.90       | A 1/3 2/3 1/4; B 1/3 2/3 0.621
pyrite         | 205   | 1 1          | A 0 0 0; B 0.385 0.385 0.385
marcasite      | 58    | 1.22 0.763   | A 0 0 0; B 0.200 0.378 0
aluminum-diboride | 191 | 1 1.08      | A 0 0 0; B 1/3 2/3 1/2
molybdenum-disilicide | 139 | 1 2.45  | A 0 0 0; B 0 0 0.333
calcium-carbide | 139  | 1 1.66       | A 0 0 0; B 0 0 0.405
laves-C15      | 227:2 | 1 1          | A 1/8 1/8 1/8; B 1/2 1/2 1/2
laves-C14      | 194   | 1 1.633      | A 1/3 2/3 0.062; B 0 0 0; B 0.830 0.660 1/4
cuprite        | 224:2 | 1 1          | A 0 0 0; B 1/4 1/4 1/4
theta-Al2Cu    | 140   | 1 0.805      | A 0 0 1/4; B 0.158 0.658 0
nickel-indium  | 194   | 1 1.22       | A 0 0 0; A 1/3 2/3 3/4; B 1/3 2/3 1/4
iron-phosphide | 189   | 1 0.59       | A 0.256 0 0; A 0.594 0 1/2; B 1/3 2/3 0; B 0 0 1/2
L1_2           | 221   | 1 1          | A 0 1/2 1/2; B 0 0 0
A15            | 223   | 1 1          | A 1/4 0 1/2; B 0 0 0
D0_3           | 225   | 1 1          | A 1/4 1/4 1/4; A 1/2 1/2 1/2; B 0 0 0
D0_19          | 194   | 1 0.80       | A 0.833 0.666 1/4; B 1/3 2/3 1/4
D0_22          | 139   | 1 2.23       | A 0 0 1/2; A 0 1/2 1/4; B 0 0 0
rhenium-trioxide | 221 | 1 1          | A 0 0 0; B 1/2 0 0
copper-nitride | 221   | 1 1          | A 1/2 0 0; B 0 0 0
aluminum-fluoride | 167 | 1 2.53      | A 0 0 0; B 0.430 0 1/4
uranium-trichloride | 176 | 1 0.57    | A 1/3 2/3 1/4; B 0.375 0.292 1/4
sodium-arsenide | 194  | 1 1.77       | A 0 0 1/4; A 1/3 2/3 0.583; B 1/3 2/3 1/4
lithium-nitride | 191  | 1 1.06       | A 0 0 1/2; A 1/3 2/3 0; B 0 0 0
corundum       | 167   | 1 2.73       | A 0 0 0.352; B 0.306 0 1/4
lanthanum-oxide | 164  | 1 1.56       | A 1/3 2/3 0.245; B 1/3 2/3 0.645; B 0 0 0
anti-lanthanum-oxide | 164 | 1 1.58   | A 1/3 2/3 0.632; A 0 0 0; B 1/3 2/3 0.235
tetradymite    | 166   | 1 6.95       | A 0 0 0.400; B 0 0 0; B 0 0 0.209
calcium-pentacopper | 191 | 1 0.80    | A 0 0 0; B 1/3 2/3 0; B 1/2 0 1/2
calcium-hexaboride | 221 | 1 1        | A 0 0 0; B 0.202 1/2 1/2
skutterudite   | 204   | 1 1          | A 1/4 1/4 1/4; B 0 0.335 0.158
nickel-molybdenum | 87 | 1 0.62       | A 0.200 0.400 0; B 0 0 0
perovskite     | 221   | 1 1          | A 0 0 0; B 1/2 1/2 1/2; C 1/2 1/2 0
inverse-perovskite | 221 | 1 1        | A 1/2 1/2 0; B 0 0 0; C 1/2 1/2 1/2
hexagonal-perovskite | 194 | 1 0.85   | A 1/3 2/3 3/4; B 0 0 0; C 0.148 0.296 1/4
tetragonal-perovskite | 99 | 1 1.05   | A 0 0 0; B 1/2 1/2 0.515; C 1/2 1/2 0.970; C 1/2 0 0.480
tilted-perovskite | 140 | 1 1.42      | A 0 1/2 1/4; B 0 0 0; C 0 0 1/4; C 0.235 0.735 0
rhombohedral-perovskite | 167 | 1 2.44 | A 0 0 1/4; B 0 0 0; C 0.530 0 1/4
orthorhombic-perovskite | 62 | 1.40 0.975 | A 0.050 1/4 0.990; B 0 0 1/2; \
C 0.470 1/4 0.080; C 0.290 0.040 0.710
potassium-nickel-fluoride | 139 | 1 3.25 | A 0 0 0.355; B 0 0 0; C 0 1/2 0; C 0 0 0.158
infinite-layer | 123   | 1 0.86       | A 1/2 1/2 1/2; B 0 0 0; C 1/2 0 0
delafossite    | 166   | 1 5.65       | A 0 0 0; B 0 0 1/2; C 0 0 0.108
layered-oxide  | 166   | 1 5.00       | A 0 0 1/2; B 0 0 0; C 0 0 0.260
chalcopyrite   | 122   | 1 1.97       | A 0 0 0; B 0 0 1/2; C 0.245 1/4 1/8
stannite       | 121   | 1 1.97       | A 0 1/2 1/4; B 0 0 0; C 0 0 1/2; D 0.245 0.245 0.130
spinel         | 227:2 | 1 1          | A 1/8 1/8 1/8; B 1/2 1/2 1/2; C 0.262 0.262 0.262
matlockite     | 129   | 1 1.78       | A 0 1/2 0.190; B 0 0 0; C 0 1/2 0.650
zirconium-cuprate-arsenide | 129 | 1 2.15 | A 0 1/2 0.140; B 0 0 1/2; C 0 1/2 0.660; D 0 0 0
thorium-chromium-silicide | 139 | 1 2.60 | A 0 0 0; B 0 1/2 1/4; C 0 0 0.370
calcium-aluminum-silicide | 164 | 1 1.72 | A 0 0 0; B 1/3 2/3 0.630; C 1/3 2/3 0.260
max-phase-211  | 194   | 1 4.40       | A 1/3 2/3 0.086; B 1/3 2/3 3/4; C 0 0 0
half-heusler   | 216   | 1 1          | A 1/4 1/4 1/4; B 0 0 0; C 1/2 1/2 1/2
full-heusler   | 225   | 1 1          | A 1/4 1/4 1/4; B 0 0 0; C 1/2 1/2 1/2
inverse-heusler | 216  | 1 1          | A 0 0 0; A 1/4 1/4 1/4; B 1/2 1/2 1/2; C 3/4 3/4 3/4
elpasolite     | 225   | 1 1          | A 1/4 1/4 1/4; B 0 0 0; C 1/2 1/2 1/2; D 0.245 0 0
potassium-hexachloroplatinate | 225 | 1 1 | A 1/4 1/4 1/4; B 0 0 0; C 0.240 0 0
zirconium-beryllium-silicide | 194 | 1 1.85 | A 0 0 0; B 1/3 2/3 1/4; C 1/3 2/3 3/4
zirconium-nickel-aluminide | 189 | 1 0.52 | A 0.590 0 1/2; B 1/3 2/3 1/2; B 0 0 0; C 0.250 0 0
ilmenite       | 148   | 1 2.77       | A 0 0 0.355; B 0 0 0.146; C 0.317 0.023 0.245
lithium-niobate | 161  | 1 2.69       | A 0 0 0.280; B 0 0 0; C 0.048 0.343 0.063
calcite        | 167   | 1 3.42       | A 0 0 0; B 0 0 1/4; C 0.257 0 1/4
scheelite      | 88    | 1 2.17       | A 0 0 1/2; B 0 0 0; C 0.241 0.151 0.086
zircon         | 141:2 | 1 0.905      | A 0 3/4 1/8; B 0 1/4 3/8; C 0 0.066 0.195
thallium-indium-selenide | 140 | 1 0.85 | A 0 0 1/4; B 0 1/2 1/4; C 0.180 0.680 0
cerium-cobalt-indium | 123 | 1 1.63   | A 0 0 0; B 0 0 1/2; C 1/2 1/2 0; C 0 1/2 0.305
"""

# Anion radii in Å; Shannon radii serve for the cations.
ANION_RADII = {
    "F": 1.33, "Cl": 1.81, "Br": 1.96, "I": 2.20, "H": 1.30, "O": 1.40, "S": 1.84, "Se": 1.98,
    "Te": 2.21, "N": 1.46, "P": 1.95, "As": 2.02, "Sb": 2.25, "Bi": 2.35, "C": 1.50, "Si": 2.00,
    "Ge": 2.05,
}  # fmt: skip
# Effective radii in Å of elements that have no metallic radius but sit in intermetallics.
ALLOY_RADII = {
    "H": 0.55, "B": 0.95, "C": 0.90, "N": 0.85, "O": 0.85, "P": 1.30, "S": 1.30, "Si": 1.37,
    "Ge": 1.42, "As": 1.42, "Se": 1.45, "Te": 1.65, "Sb": 1.63, "Bi": 1.75, "Pm": 1.83,
    "Ac": 1.95, "Pa": 1.62, "Np": 1.56,
}  # fmt: skip
METALLIC_PACKING = 0.71

LANTHANIDES = "La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"
METALS = (
    "Li Na K Rb Cs Be Mg Ca Sr Ba Al Ga In Tl Sn Pb Zn Cd Hg Sc Y Ti Zr Hf V Nb Ta Cr Mo W "
    f"Mn Tc Re Fe Ru Os Co Rh Ir Ni Pd Pt Cu Ag Au {LANTHANIDES} Ac Th Pa U Np Pu"
)
MOLECULAR = {"H": 0.74, "N": 1.10, "O": 1.21, "F": 1.42, "Cl": 1.99, "Br": 2.28, "I": 2.67}

PLUS_1 = "Li1 Na1 K1 Rb1 Cs1"
PLUS_1_SOFT = "Cu1 Ag1 Tl1"
ALKALINE = "Mg2 Ca2 Sr2 Ba2"
TRANSITION_2 = "V2 Cr2 Mn2 Fe2 Co2 Ni2 Cu2 Zn2 Cd2 Hg2 Pd2 Pt2"
PLUS_2 = f"Be2 {ALKALINE} {TRANSITION_2} Ge2 Sn2 Pb2 Sm2 Eu2 Yb2"
RARE_3 = "Sc3 Y3 La3 Ce3 Pr3 Nd3 Sm3 Gd3 Tb3 Dy3 Ho3 Er3 Tm3 Yb3 Lu3"
TRANSITION_3 = "Ti3 V3 Cr3 Mn3 Fe3 Co3 Ni3 Rh3 Ir3 Mo3 Ru3"
MAIN_3 = "Al3 Ga3 In3 Tl3"
PLUS_3 = f"{RARE_3} {TRANSITION_3} {MAIN_3} Bi3 Sb3 U3 Pu3"
TRANSITION_4 = "Ti4 Zr4 Hf4 V4 Nb4 Ta4 Cr4 Mo4 W4 Mn4 Tc4 Re4 Ru4 Os4 Co4 Rh4 Ir4 Pd4 Pt4"
PLUS_4 = f"{TRANSITION_4} Si4 Ge4 Sn4 Pb4 Te4 Ce4 Th4 Pa4 U4 Np4 Pu4"
PLUS_5 = "V5 Nb5 Ta5 Sb5 Bi5 Mo5 W5 Re5 Os5 Ru5 Pa5 U5"
PLUS_6 = "Mo6 W6 Re6 Te6 U6 Os6"
HALIDES = "F-1 Cl-1 Br-1 I-1"
CHALCOGENIDES = "O-2 S-2 Se-2 Te-2"
HEAVY_CHALCOGENIDES = "S-2 Se-2 Te-2"
PNICTIDES = "N-3 P-3 As-3 Sb-3 Bi-3"
HEAVY_PNICTIDES = "P-3 As-3 Sb-3 Bi-3"
RARE = "Sc Y La Ce Pr Nd Sm Eu Gd Tb Dy Ho Er Tm Yb Lu"
BIG = f"Ca Sr Ba {RARE} Th U"
EARLY = "Ti Zr Hf V Nb Ta Sc Y"
MIDDLE = "Cr Mo W Mn Tc Re Fe Ru Os"
LATE = "Co Rh Ir Ni Pd Pt Cu Ag Au"
SIMPLE = "Al Ga In Tl Sn Pb Zn Cd Mg"
METALLOIDS = "Si Ge P As Sb Sn"

# kind | prototype | how many | sublattice A | sublattice B | ... ; "{NAME}" is a list above.
# "ionic" keeps charge-neutral combinations only; "alloy" starts from additive atomic volumes and
# "covalent" from covalent radii; a suffix names one of the FILTERS.
RECIPES = f"""
alloy    | fcc | 99 | {METALS}
alloy    | bcc | 99 | {METALS}
alloy    | hcp | 99 | {METALS}
alloy    | dhcp | 12 | La Ce Pr Nd Pm Sm Gd Y Sc Zr Ti Co
alloy    | simple-cubic | 8 | Ga Sn Bi Sb Ca As Te
alloy    | beta-tungsten | 8 | W Cr Mo Ta Nb V Re U
alloy    | indium | 6 | In Sn Pb Ga Pa Pu
alloy    | mercury | 3 | Hg Cd Sn
alloy    | alpha-uranium | 5 | U Ce Np Pu Pa
alloy    | gallium | 3 | Ga In Al
covalent | diamond | 6 | C Si Ge Sn Pb B
covalent | beta-tin | 4 | Sn Ge Si Ga
covalent | arsenic | 7 | P As Sb Bi Te Se
covalent | selenium | 3 | S Se Te
covalent | black-phosphorus | 3 | P As Sb
covalent | graphite | 2 | C B
covalent | alpha-boron | 1 | B
ionic    | rocksalt | 24 | {PLUS_1} Ag1 Tl1 | {HALIDES} H-1
ionic    | rocksalt | 45 | {PLUS_2} | {CHALCOGENIDES}
ionic    | rocksalt | 60 | {PLUS_3} Np3 | {PNICTIDES}
ionic    | rocksalt | 16 | Ti4 Zr4 Hf4 V4 Nb4 Ta4 Th4 U4 Pu4 Mo4 W4 Cr4 Pa4 Np4 Sc4 | C-4
ionic    | cesium-chloride | 22 | Rb1 Cs1 Tl1 K1 Na1 Ag1 | {HALIDES} H-1
ionic    | zincblende | 14 | Cu1 Ag1 Li1 Na1 | {HALIDES}
ionic    | zincblende | 20 | Be2 Mg2 Zn2 Cd2 Hg2 Mn2 Fe2 Co2 | {CHALCOGENIDES}
ionic    | zincblende | 20 | B3 Al3 Ga3 In3 | {PNICTIDES}
ionic    | zincblende | 4 | Si4 Ge4 Sn4 | C-4 Si-4 Ge-4
ionic    | wurtzite | 10 | Cu1 Ag1 Li1 Na1 | {HALIDES}
ionic    | wurtzite | 24 | Be2 Mg2 Zn2 Cd2 Mn2 Fe2 Co2 | {CHALCOGENIDES}
ionic    | wurtzite | 20 | B3 Al3 Ga3 In3 Sc3 | {PNICTIDES}
ionic    | wurtzite | 3 | Si4 Ge4 | C-4
alloy    | nickel-arsenide | 55 | Ti V Cr Mn Fe Co Ni Pd Pt Rh Ir Nb Zr | S Se Te As Sb Bi Sn P
alloy    | tungsten-carbide | 22 | W Mo Ta Nb Ti Zr Hf V Ru Re Os | C N P B
alloy    | L1_0 | 45 | Fe Co Mn Ni Cu Ti Zn Mg Al | Pt Pd Au Ni Al Ga Rh Ir Hg
alloy    | cesium-chloride | 60 | {EARLY} {SIMPLE} Be | Fe Ru Os {LATE}
alloy    | cesium-chloride | 45 | {RARE} Ca Sr | Cu Ag Au Zn Cd Hg Mg Rh Pd In Tl
alloy    | sodium-thallide | 10 | Li Na K | Al Ga In Tl Zn Cd
ionic    | litharge | 9 | Sn2 Pb2 Fe2 Co2 Mn2 | O-2 S-2 Se-2 Te-2
ionic    | tin-sulfide | 8 | Ge2 Sn2 Pb2 | S-2 Se-2 Te-2
alloy    | manganese-phosphide | 14 | Cr Mn Fe Co V Ru Rh Pd W Ni | P As Sb Ge
alloy    | iron-silicide | 16 | Cr Mn Fe Co Ru Os Rh Re Ni Pd Pt | Si Ge Ga Al
alloy    | chromium-boride | 20 | Cr V Nb Ta Ni Mo W Y Ca Zr Hf Th La | B Si Ge
alloy    | iron-boride | 9 | Fe Co Mn Ti Hf Zr Gd Y | B Si
covalent | boron-nitride | 3 | B Al Ga | N
ionic    | gallium-selenide | 5 | Ga2 In2 Al2 | S-2 Se-2 Te-2
ionic    | cooperite | 8 | Pd2 Pt2 Cu2 Ni2 Ag2 | O-2 S-2 Se-2
ionic    | fluorite | 32 | {PLUS_2} | {HALIDES}
ionic    | fluorite | 18 | {PLUS_4} | O-2
ionic    | fluorite | 10 | Ti2 Zr2 Hf2 Y2 La2 Ce2 Nd2 Gd2 Er2 Sc2 Nb2 V2 | H-1
ionic    | antifluorite | 18 | {PLUS_1} Cu1 Ag1 | {CHALCOGENIDES}
ionic    | antifluorite | 11 | Mg2 Be2 Ca2 Sr2 | Si-4 Ge-4 Sn-4 Pb-4 C-4
ionic    | rutile | 30 | {TRANSITION_4} Ge4 Sn4 Pb4 Te4 Si4 | O-2
ionic    | rutile | 12 | Mg2 Mn2 Fe2 Co2 Ni2 Zn2 Pd2 V2 Cr2 Cd2 | F-1
ionic    | calcium-chloride | 16 | Mg2 Ca2 Sr2 Mn2 Fe2 Co2 Ni2 Zn2 Cr2 V2 | {HALIDES}
ionic    | anatase | 8 | Ti4 Zr4 Sn4 V4 Hf4 Nb4 Ru4 Ge4 | O-2
ionic    | baddeleyite | 6 | Zr4 Hf4 Ti4 Sn4 Ce4 Nb4 | O-2
ionic    | quartz | 6 | Si4 Ge4 Be2 P5 Ti4 Zn2 | O-2 F-1 S-2 Cl-1
ionic    | cristobalite | 7 | Si4 Ge4 Be2 Zn2 Ti4 | O-2 F-1 S-2
ionic    | cadmium-iodide | 34 | Mg2 Ca2 Ti2 V2 Mn2 Fe2 Co2 Ni2 Zn2 Cd2 Pb2 Ge2 Yb2 | Cl-1 Br-1 I-1
ionic    | cadmium-iodide | 34 | {TRANSITION_4} Sn4 | S-2 Se-2 Te-2
ionic    | cadmium-chloride | 24 | Mg2 Mn2 Fe2 Co2 Ni2 Zn2 Cd2 Ti2 V2 | Cl-1 Br-1 I-1
ionic    | cadmium-chloride | 10 | Ta4 Nb4 Sn4 Zr4 Ti4 | S-2 Se-2
alloy    | anti-cadmium-chloride | 6 | Ca Sr Ba Y Gd | N C
ionic    | molybdenite | 18 | Mo4 W4 Nb4 Ta4 Re4 V4 Hf4 | S-2 Se-2 Te-2
alloy    | pyrite | 16 | Mn Fe Co Ni Cu Zn Ru Os Rh Pt Cd | S Se Te As
alloy    | marcasite | 14 | Fe Co Ni Ru Os Cr Rh | P As Sb S Se
alloy    | aluminum-diboride | 32 | Mg Al Sc Y Ti Zr Hf V Nb Ta Cr Mo W Mn Ru Os Gd Tb Er Lu U | B
alloy    | aluminum-diboride | 14 | Ca Sr La Ce Gd Y Th U | Si Ga Ge Hg Al
alloy    | molybdenum-disilicide | 16 | Mo W Re Zr Hf Ti Nb Cr Y | Si Ge Au Ag Al
covalent | calcium-carbide | 8 | Ca Sr Ba La Ce U Y Gd | C
covalent | calcium-carbide | 5 | Ca Sr Ba K Rb Na | O
alloy-ratio | laves-C15 | 50 | {BIG} Zr Hf Ti Nb Ta Mg | Al Mg Cr Mn Fe Co Ni Cu Ru Rh Ir Pt Zn
alloy-ratio | laves-C14 | 14 | Mg Ca Ti Zr Hf Nb Ta Sc Y Lu | Zn Mn Fe Co Cr Li Mg Re Al
ionic    | cuprite | 4 | Cu1 Ag1 Au1 | O-2 S-2
alloy    | theta-Al2Cu | 16 | Cu Fe Co Ni Mn Rh Pd Ti Zr | Al Sn Ge Zr Th Ta
alloy    | nickel-indium | 10 | Ni Co Fe Mn Zr Ti | In Ge Sn Ga Al
alloy    | iron-phosphide | 10 | Fe Ni Co Mn Pd Rh Pt | P As Si B
alloy    | L1_2 | 70 | Ni Pt Pd Rh Ir Co Fe Mn Cu Au Ag | {EARLY} Cr Mn Fe Al Ga Si Ge Sn Zn
alloy    | L1_2 | 60 | Al Ga In Tl Sn Pb Pd Pt Rh | {RARE} Ca Th U Zr Np Pu
alloy    | A15 | 32 | V Nb Ta Cr Mo Ti Zr | Al Ga In Si Ge Sn Pt Ir Os Au Rh Sb
alloy    | D0_3 | 28 | Fe Li Cu Ni Mn Mg Co | Al Si Ga Ge Sn Sb Bi Ce La Gd Pr
alloy    | D0_19 | 18 | Ti Ni Co Mn Fe Mg Zr Pt | Sn Al W Mo Ga In Ge Cd
alloy    | D0_22 | 16 | Al Ga V Ni Pd Au | Ti V Nb Ta Zr Hf
ionic    | rhenium-trioxide | 12 | {PLUS_6} | O-2
ionic    | rhenium-trioxide | 14 | {TRANSITION_3} {MAIN_3} Sc3 | F-1
ionic    | copper-nitride | 7 | Cu1 Ag1 Li1 Na1 Au1 | N-3 P-3
ionic    | aluminum-fluoride | 14 | {TRANSITION_3} Al3 Ga3 In3 Sc3 | F-1
ionic    | uranium-trichloride | 14 | La3 Ce3 Pr3 Nd3 Sm3 Gd3 U3 Np3 Pu3 Ac3 | Cl-1 Br-1
ionic    | sodium-arsenide | 14 | Li1 Na1 K1 Rb1 Cs1 | {PNICTIDES}
ionic    | lithium-nitride | 5 | Li1 Na1 K1 | N-3 P-3
ionic    | corundum | 18 | Al3 Ga3 In3 Ti3 V3 Cr3 Mn3 Fe3 Co3 Rh3 Ir3 Sc3 Tl3 Bi3 Y3 Ni3 Ru3 | O-2
ionic    | lanthanum-oxide | 14 | La3 Ce3 Pr3 Nd3 Sm3 Gd3 Bi3 Ac3 Pu3 Y3 | O-2 S-2
ionic    | anti-lanthanum-oxide | 10 | Mg2 Ca2 Zn2 Be2 | P-3 As-3 Sb-3 Bi-3 N-3
ionic    | tetradymite | 12 | Bi3 Sb3 As3 In3 | S-2 Se-2 Te-2
alloy    | calcium-pentacopper | 18 | Ca Y La Ce Sm Gd Th Sr | Cu Ni Co Zn Pt Fe
alloy    | calcium-hexaboride | 11 | Ca Sr Ba La Ce Nd Eu Gd Yb Y Th K | B
alloy    | skutterudite | 6 | Co Rh Ir | P As Sb
alloy    | nickel-molybdenum | 8 | Ni Au Pt Pd | Mo W V Cr Ti
ionic-tolerance | perovskite | 100 | {PLUS_1} {ALKALINE} Pb2 Eu2 {RARE_3} Bi3 Ag1 Tl1 | \
{TRANSITION_3} {MAIN_3} {PLUS_4} {PLUS_5} Sc3 | O-2
ionic-tolerance | perovskite | 40 | {PLUS_1} Tl1 Ag1 | {ALKALINE} {TRANSITION_2} Yb2 | F-1
ionic-tolerance | perovskite | 40 | {PLUS_1} Tl1 | {ALKALINE} {TRANSITION_2} Ge2 Sn2 Pb2 Eu2 Yb2 | \
Cl-1 Br-1 I-1
ionic-tolerance | perovskite | 16 | Ca2 Sr2 Ba2 Eu2 | Ti4 Zr4 Hf4 Sn4 | S-2 Se-2
ionic-tolerance | perovskite | 6 | Li1 K1 Na1 Rb1 Cs1 | Mg2 Ca2 Sr2 Ba2 | H-1
ionic-tolerance | perovskite | 8 | La3 Ce3 Pr3 Nd3 | W6 Re6 Nb6 Ta6 Mo6 | N-3
alloy    | inverse-perovskite | 40 | Mn Fe Ni Co Ti Cr Pd Rh | Al Ga In Sn Zn Cu Ag Sb | N C B
ionic    | inverse-perovskite | 12 | Ca2 Sr2 Ba2 Mg2 | Sn-4 Pb-4 Ge-4 Si-4 | O-2
ionic    | inverse-perovskite | 12 | Ca2 Mg2 Sr2 Ba2 | P-3 As-3 Sb-3 Bi-3 | N-3
ionic    | inverse-perovskite | 6 | Li1 Na1 | Cl-1 Br-1 I-1 | O-2 S-2
alloy    | inverse-perovskite | 12 | La Ce Nd Gd Sc Y Er | Al In Tl Sn Pb | C N
ionic-tolerance | hexagonal-perovskite | 14 | Ba2 Sr2 Ca2 | Ni4 Co4 Mn4 Ti4 Ir4 Ru4 Rh4 V4 | O-2 S-2
ionic-tolerance | hexagonal-perovskite | 10 | Cs1 Rb1 | Ni2 Co2 Fe2 Mn2 V2 Mg2 | Cl-1 Br-1 F-1
ionic-tolerance | tetragonal-perovskite | 16 | Ba2 Sr2 Pb2 K1 Na1 Bi3 La3 | \
Ti4 Zr4 V4 Nb5 Ta5 Fe3 Co3 Sn4 | O-2
ionic-tolerance | tilted-perovskite | 14 | {PLUS_1} Ca2 Sr2 Ba2 | Ti4 Zr4 Hf4 Ru4 Mg2 Mn2 Zn2 \
Sn4 | \
O-2 F-1
ionic-tolerance | rhombohedral-perovskite | 18 | La3 Pr3 Nd3 Bi3 Sr2 Ba2 | Al3 Ni3 Co3 Fe3 Mn3 \
Ga3 Cu3 \
Ti3 Cr3 Rh3 Zr4 | O-2
ionic-tolerance | orthorhombic-perovskite | 16 | Ca2 Sr2 Gd3 Y3 La3 Nd3 Na1 | \
Ti4 Zr4 Fe3 Cr3 Mn3 Al3 Sc3 Sn4 Mg2 | O-2 F-1
ionic    | potassium-nickel-fluoride | 20 | Sr2 Ba2 Ca2 La3 Nd3 | Ti4 Mn4 Ru4 Ir4 Sn4 Zr4 V4 Cu2 \
Ni2 \
Co2 Rh4 | O-2
ionic    | potassium-nickel-fluoride | 16 | K1 Rb1 Cs1 Tl1 | Mg2 Mn2 Fe2 Co2 Ni2 Cu2 Zn2 Cd2 | \
F-1 Cl-1
ionic    | infinite-layer | 7 | Ca2 Sr2 Ba2 La3 Nd3 | Cu2 Ni2 Fe2 Ni1 | O-2
ionic    | delafossite | 28 | Cu1 Ag1 Pd1 Pt1 | {TRANSITION_3} {MAIN_3} Sc3 Y3 La3 | O-2
ionic    | layered-oxide | 30 | Li1 Na1 K1 | {TRANSITION_3} {MAIN_3} Sc3 Y3 | O-2
ionic    | layered-oxide | 24 | Li1 Na1 K1 Rb1 | Ti3 V3 Cr3 Sc3 Y3 La3 Er3 In3 Bi3 | S-2 Se-2
ionic    | chalcopyrite | 28 | Cu1 Ag1 Li1 | Al3 Ga3 In3 Fe3 Tl3 | S-2 Se-2 Te-2
ionic    | chalcopyrite | 14 | Zn2 Cd2 Mg2 Mn2 Be2 | Si4 Ge4 Sn4 | P-3 As-3 N-3
ionic    | stannite | 12 | Cu1 Ag1 Li1 | Zn2 Fe2 Mn2 Cd2 Co2 Hg2 | Sn4 Ge4 Si4 | S-2 Se-2
ionic    | spinel | 26 | Mg2 Mn2 Fe2 Co2 Ni2 Zn2 Cd2 Li1 Cu2 Ge4 | Al3 Ga3 In3 Cr3 V3 Fe3 Mn3 \
Co3 Mn4 Ti4 \
Ni2 Mg2 | O-2
ionic    | spinel | 10 | Mg2 Mn2 Fe2 Zn2 Cd2 Cu2 | In3 Cr3 Sc3 Al3 | S-2 Se-2
ionic    | matlockite | 26 | Ca2 Sr2 Ba2 Pb2 Eu2 Sm2 | F-1 H-1 | Cl-1 Br-1 I-1
ionic    | matlockite | 22 | Bi3 La3 Ce3 Nd3 Gd3 Y3 Sb3 Pu3 U3 | O-2 | F-1 Cl-1 Br-1 I-1
alloy    | matlockite | 20 | Zr Hf Nb Ti U Th La Ce | Si Ge Sb As | S Se Te Sb
ionic    | zirconium-cuprate-arsenide | 14 | La3 Ce3 Nd3 Bi3 Y3 Gd3 | Cu1 Ag1 | S-2 Se-2 Te-2 | O-2
ionic    | zirconium-cuprate-arsenide | 12 | La3 Ce3 Nd3 Gd3 | Fe2 Mn2 Co2 Ni2 Zn2 | P-3 As-3 \
Sb-3 | O-2
alloy    | thorium-chromium-silicide | 55 | {BIG} K | Mn Fe Co Ni Cu Ru Rh Pd Ir Pt Ag Zn Cr | \
Si Ge P As
ionic    | calcium-aluminum-silicide | 20 | Ca2 Sr2 Ba2 Mg2 Eu2 Yb2 | Mn2 Zn2 Cd2 Mg2 | P-3 As-3 \
Sb-3 Bi-3
alloy    | max-phase-211 | 40 | Ti V Cr Zr Nb Hf Ta Sc Mo | Al Ga In Si Ge Sn P As S Zn Tl Pb | C N
alloy-eighteen | half-heusler | 60 | Fe Ru Os Co Rh Ir Ni Pd Pt Cu Ag | {EARLY} La Gd Er Lu Th | \
Sb Sn Bi As Te P Ge Pb Si Al Ga
ionic    | half-heusler | 16 | Li1 Na1 Cu1 Ag1 K1 | Mg2 Zn2 Cd2 Ca2 | N-3 P-3 As-3 Sb-3 Bi-3
alloy    | full-heusler | 90 | Fe Co Ni Cu Ru Rh Pd Au Mn Pt Ir | {EARLY} Cr Mn Fe Li Er Lu | Al \
Ga In Si Ge Sn Sb
alloy    | inverse-heusler | 20 | Mn Ti Cr Sc V Fe | Co Ni Fe Ru Rh Cu | Al Ga Si Ge Sn Sb In
ionic    | elpasolite | 28 | K1 Rb1 Cs1 Tl1 Na1 | Na1 Ag1 Li1 Cu1 K1 | {RARE_3} {MAIN_3} Bi3 Sb3 \
Cr3 Fe3 V3 Ti3 | \
F-1 Cl-1 Br-1 I-1
ionic-tolerance | elpasolite | 16 | Sr2 Ba2 Ca2 | Mg2 Fe2 Co2 Ni2 Zn2 Ca2 Mn2 | W6 Mo6 Re6 Os6 \
Te6 U6 | O-2
ionic    | potassium-hexachloroplatinate | 30 | K1 Rb1 Cs1 Tl1 | Pt4 Pd4 Sn4 Te4 Ti4 Zr4 Hf4 Re4 \
Os4 Ir4 Mn4 Si4 \
Ge4 Pb4 U4 W4 Mo4 | F-1 Cl-1 Br-1 I-1
ionic    | zirconium-beryllium-silicide | 16 | K1 Na1 Rb1 Li1 | Zn2 Cd2 Hg2 Be2 Mg2 | P-3 As-3 \
Sb-3 Bi-3
alloy    | zirconium-nickel-aluminide | 16 | Zr Hf Ti Y Gd Er Ce Th U | Ni Co Rh Pd Ru Pt | Al \
Ga In Sn
ionic    | ilmenite | 12 | Mg2 Mn2 Fe2 Co2 Ni2 Zn2 Cd2 Li1 Na1 | Ti4 Mn4 Ge4 Sn4 Nb5 Sb5 V4 | O-2
ionic    | lithium-niobate | 9 | Li1 Na1 Zn2 Mn2 Fe2 | Nb5 Ta5 Sn4 Ti4 Ge4 V5 | O-2
ionic    | calcite | 12 | Mg2 Ca2 Mn2 Fe2 Co2 Ni2 Zn2 Cd2 Li1 Na1 Sc3 In3 Lu3 Al3 V3 | C4 N5 B3 \
| O-2
ionic    | scheelite | 12 | Ca2 Sr2 Ba2 Pb2 Na1 K1 Rb1 Ce4 Zr4 Y3 Bi3 | W6 Mo6 Re7 Tc7 Nb5 V5 \
Ge4 I7 | O-2
ionic    | zircon | 9 | Zr4 Hf4 Th4 Y3 Lu3 Ca2 Sc3 Ce3 | Si4 V5 P5 Cr6 As5 Ge4 | O-2
ionic    | thallium-indium-selenide | 9 | Tl1 K1 Na1 Rb1 | Tl3 In3 Ga3 Fe3 Al3 | S-2 Se-2 Te-2
alloy    | cerium-cobalt-indium | 7 | Ce La Pr U Pu Nd | Co Rh Ir | In Ga
"""

# Compounds that everybody knows, added where the random choice left them out.
WELL_KNOWN = """
rocksalt-MgO rocksalt-CaO rocksalt-LiF rocksalt-NaF rocksalt-NaCl rocksalt-KCl rocksalt-KBr
rocksalt-MnO rocksalt-FeO rocksalt-CoO rocksalt-NiO rocksalt-PbS rocksalt-PbTe rocksalt-TiC
rocksalt-TiN zincblende-ZnS zincblende-SiC zincblende-GaAs zincblende-InP zincblende-CdTe
wurtzite-ZnO wurtzite-GaN wurtzite-AlN wurtzite-CdS cesium-chloride-CsCl cesium-chloride-AlNi
cesium-chloride-TiFe nickel-arsenide-FeS nickel-arsenide-NiAs tungsten-carbide-WC L1_0-FePt
L1_0-CoPt fluorite-CaF2 fluorite-BaF2 fluorite-UO2 fluorite-ZrO2 antifluorite-Li2O
antifluorite-Mg2Si rutile-TiO2 rutile-SnO2 rutile-MgF2 anatase-TiO2 quartz-SiO2
cristobalite-SiO2 cadmium-iodide-CdI2 cadmium-iodide-TiS2 cadmium-chloride-MgCl2
molybdenite-MoS2 pyrite-FeS2 marcasite-FeS2 aluminum-diboride-MgB2 laves-C15-CaAl2
cuprite-Cu2O L1_2-Ni3Al A15-V3Si A15-Nb3Sn rhenium-trioxide-ReO3 copper-nitride-Cu3N
corundum-Al2O3 corundum-Fe2O3 corundum-Cr2O3 tetradymite-Bi2Te3 lanthanum-oxide-La2O3
calcium-hexaboride-LaB6 perovskite-SrTiO3 perovskite-BaTiO3 perovskite-CaTiO3 perovskite-KMgF3
perovskite-LaAlO3 perovskite-CsPbI3 perovskite-CsPbBr3 tetragonal-perovskite-PbTiO3
rhombohedral-perovskite-LaAlO3 spinel-MgAl2O4 layered-oxide-LiCoO2 layered-oxide-LiNiO2
delafossite-CuAlO2 chalcopyrite-CuGaS2 chalcopyrite-CuInSe2 matlockite-PbFCl calcite-CaCO3
thorium-chromium-silicide-BaFe2As2 max-phase-211-Ti2AlC max-phase-211-Cr2AlC
half-heusler-NiTiSn half-heusler-CoTiSb full-heusler-Co2MnSi full-heusler-Fe2VAl
full-heusler-Ni2MnGa tin-sulfide-SnS gallium-selenide-GaSe boron-nitride-BN zircon-ZrSiO4
scheelite-CaWO4 lithium-niobate-LiNbO3 ilmenite-FeTiO3
"""


@dataclass(frozen=True)
class Prototype:
    """A decorated-sublattice structure with unit volume, in its primitive cell."""

    name: str
    group: int
    cell: np.ndarray
    fractional: np.ndarray
    labels: tuple[str, ...]

    def counts(self) -> tuple[int, ...]:
        """Atoms of each sublattice, in label order."""
        return tuple(self.labels.count(label) for label in sorted(set(self.labels)))


@dataclass(frozen=True)
class Candidate:
    """One prototype decorated with one element (and charge, for ionic kinds) per sublattice."""

    prototype: str
    kind: str
    elements: tuple[str, ...]
    charges: tuple[int, ...]

    @property
    def formula(self) -> str:
        """Formula in sublattice order, like SrTiO3."""
        counts = np.array(PROTOTYPES[self.prototype].counts())
        counts = counts // np.gcd.reduce(counts)
        return "".join(
            f"{element}{count if count > 1 else ''}"
            for element, count in zip(self.elements, counts, strict=True)
        )

    @property
    def id(self) -> str:
        """Unique name, like rocksalt-NaCl."""
        return f"{self.prototype}-{self.formula}"

    def numbers(self) -> np.ndarray:
        """Atomic numbers in the order of the prototype's atoms."""
        labels = sorted(set(PROTOTYPES[self.prototype].labels))
        by_label = dict(zip(labels, self.elements, strict=True))
        return np.array([atomic_numbers[by_label[x]] for x in PROTOTYPES[self.prototype].labels])


def _parse_number(text: str) -> float:
    top, _, bottom = text.partition("/")
    return float(top) / float(bottom or 1)


def _parse_prototype(line: str) -> Prototype:
    name, group, shape, sites = (part.strip() for part in line.split("|"))
    group_number, _, origin = group.partition(":")
    ratios = [float(x) for x in shape.split()]
    hexagonal = 143 <= int(group_number) <= 194
    angles = ratios[2:] or [90, 90, 120 if hexagonal else 90]
    site_words = [site.split() for site in sites.split(";")]
    # Placeholder elements stand for the sublattice labels until a chemistry is chosen.
    atoms = crystal(
        [chemical_symbols["ABCD".index(words[0]) + 1] for words in site_words],
        [[_parse_number(x) for x in words[1:]] for words in site_words],
        spacegroup=int(group_number),
        setting=int(origin or 1),
        cellpar=[10, 10 * ratios[0], 10 * ratios[1], *angles],
    )
    full = (atoms.cell[:], atoms.get_scaled_positions(), atoms.numbers)
    cell, fractional, numbers = spglib.standardize_cell(full, to_primitive=True, symprec=1e-4)
    order = np.argsort(numbers, kind="stable")
    cell = cell / np.linalg.det(cell) ** (1 / 3)
    labels = tuple("ABCD"[number - 1] for number in numbers[order])
    return Prototype(name, int(group_number), cell, fractional[order], labels)


def _lines(table: str) -> list[str]:
    return [line for line in table.strip().splitlines() if line.strip()]


PROTOTYPES = {p.name: p for p in map(_parse_prototype, _lines(PROTOTYPE_TABLE))}


@cache
def ionic_radius(element: str, charge: int) -> float:
    """Shannon-like radius of an ion in Å, with the anion table first."""
    if charge < 0:
        return ANION_RADII.get(element, 2.1)
    radius = Species(element, charge).ionic_radius
    return float(radius or Element(element).average_ionic_radius or 0.7)


@cache
def alloy_radius(element: str) -> float:
    """Effective radius in Å of an atom in a metal."""
    radius = ALLOY_RADII.get(element) or Element(element).metallic_radius
    return float(radius or Element(element).atomic_radius_calculated or 1.6)


def _tolerable(elements: tuple[str, ...], charges: tuple[int, ...]) -> bool:
    """Goldschmidt's tolerance factor and the octahedral factor of a perovskite-like decoration."""
    radii = [ionic_radius(e, q) for e, q in zip(elements, charges, strict=True)]
    # Six-fold radii understate the twelve-fold site by about 0.18 Å.
    large, small, anion = radii[0] + 0.18, float(np.mean(radii[1:-1])), radii[-1]
    tolerance = (large + anion) / (np.sqrt(2) * (small + anion))
    return 0.80 <= tolerance <= 1.09 and small / anion >= 0.30


def _laves_ratio(elements: tuple[str, ...], charges: tuple[int, ...]) -> bool:
    """Laves phases want a large atom about 1.05 to 1.6 times the small one."""
    return 1.05 <= alloy_radius(elements[0]) / alloy_radius(elements[1]) <= 1.6


def _eighteen_electrons(elements: tuple[str, ...], charges: tuple[int, ...]) -> bool:
    """Half-Heusler compounds favor 18 valence electrons."""

    def valence(element: str) -> int:
        group = Element(element).group
        lanthanide = Element(element).is_lanthanoid
        return 3 if lanthanide else 4 if element == "Th" else group - 10 * (group > 12)

    return sum(map(valence, elements)) == 18


FILTERS = {"tolerance": _tolerable, "ratio": _laves_ratio, "eighteen": _eighteen_electrons}


def _split_token(token: str) -> tuple[str, int]:
    element = token.rstrip("-0123456789")
    return element, int(token[len(element) :] or 0)


def _decorations(line: str) -> tuple[list[Candidate], int]:
    """All decorations one recipe line allows, and how many of them are wanted."""
    kind, name, wanted, *roles = (part.strip() for part in line.split("|"))
    kind, _, rule = kind.partition("-")
    counts = PROTOTYPES[name].counts()
    found = []
    for choice in product(*[[_split_token(t) for t in role.split()] for role in roles]):
        elements, charges = zip(*choice, strict=True)
        neutral = sum(n * q for n, q in zip(counts, charges, strict=True)) == 0
        if len(set(elements)) < len(elements) or (kind == "ionic" and not neutral):
            continue
        if not rule or FILTERS[rule](elements, charges):
            found.append(Candidate(name, kind, elements, charges))
    return found, int(wanted)


def candidates(seed: int, fraction: float = 1.0) -> list[Candidate]:
    """Choose the decorations, unique by prototype and composition, in shuffled order."""
    generator = random.Random(seed)
    chosen: dict[tuple, Candidate] = {}
    catalog: dict[str, Candidate] = {}
    for line in _lines(RECIPES):
        options, wanted = _decorations(line)
        catalog |= {option.id: option for option in options}
        if len(options[0].elements) > 1:
            wanted = round(wanted * fraction)
        generator.shuffle(options)
        taken = 0
        for option in options:
            # Sublattices of the same size may trade elements without changing the formula.
            key = (option.prototype, tuple(sorted(option.numbers())))
            if taken < wanted and key not in chosen:
                chosen[key] = option
                taken += 1
    order = list(chosen.values())
    generator.shuffle(order)
    taken_ids = {candidate.id for candidate in order}
    return order + [catalog[name] for name in WELL_KNOWN.split() if name not in taken_ids]


@cache
def _closest_contacts(name: str) -> dict[tuple[int, int], float]:
    """Shortest distance between each pair of sublattices of the unit-volume prototype."""
    prototype = PROTOTYPES[name]
    firsts, seconds, distances = primitive_neighbor_list(
        "ijd", (True,) * 3, prototype.cell, prototype.fractional, 1.8, use_scaled_positions=True
    )
    sublattice = np.array(["ABCD".index(label) for label in prototype.labels])
    closest: dict[tuple[int, int], float] = {}
    for pair in zip(sublattice[firsts], sublattice[seconds], distances, strict=True):
        closest[pair[:2]] = min(closest.get(pair[:2], np.inf), pair[2])
    return closest


def _contact_scale(candidate: Candidate) -> float:
    """Length that makes the tightest contact of the unit-volume prototype equal its radii sum."""
    scale = 0.0
    for (first, second), distance in _closest_contacts(candidate.prototype).items():
        elements = candidate.elements[first], candidate.elements[second]
        charges = candidate.charges[first], candidate.charges[second]
        if candidate.kind == "covalent":
            contact = sum(covalent_radii[atomic_numbers[element]] for element in elements)
        elif min(charges) < 0:
            contact = sum(map(ionic_radius, elements, charges))
            # Anions may touch, but they overlap well before they set the volume.
            contact *= 0.75 if max(charges) < 0 else 1.0
        else:
            continue
        scale = max(scale, contact / distance)
    return scale


def starting_structure(candidate: Candidate) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, positions and cell of a candidate, its volume estimated from radii."""
    prototype = PROTOTYPES[candidate.prototype]
    numbers = candidate.numbers()
    if candidate.kind == "alloy":
        volumes = [4 * np.pi / 3 * alloy_radius(chemical_symbols[z]) ** 3 for z in numbers]
        scale = (sum(volumes) / METALLIC_PACKING) ** (1 / 3)
    else:
        scale = _contact_scale(candidate)
    cell = prototype.cell * scale
    return numbers, prototype.fractional @ cell, cell
