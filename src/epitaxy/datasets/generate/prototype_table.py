"""Structures that many compounds share, as their space group, axes and sites."""

# name | kinds | how common | space group (":2": origin 2) | b/a c/a [alpha beta gamma] | sites
# A site is a sublattice and coordinates; one sublattice holds one element. A kind is "m" for
# metals, "c" for covalent elements, or the sign of every sublattice's charge. Coordinates are those
# of the textbooks, rounded: they only start the relaxation. How common a structure is was set by
# hand: what crowds the databases weighs more.
TABLE = """
fcc | m | .6 | 225 | 1 1 | A 0 0 0
bcc | m | .5 | 229 | 1 1 | A 0 0 0
hcp | m | .5 | 194 | 1 1.61 | A 1/3 2/3 1/4
dhcp | m | .2 | 194 | 1 3.23 | A 0 0 0; A 1/3 2/3 1/4
simple-cubic | m | .1 | 221 | 1 1 | A 0 0 0
diamond | c | .3 | 227 | 1 1 | A 0 0 0
beta-tin | m | .1 | 141 | 1 0.546 | A 0 0 0
indium | m | .1 | 139 | 1 1.52 | A 0 0 0
mercury | m | .1 | 166 | 1 1.93 | A 0 0 0
arsenic | c | .2 | 166 | 1 2.62 | A 0 0 0.229
selenium | c | .2 | 152 | 1 1.14 | A 0.225 0 1/3
gallium | m | .05 | 64 | 1.695 1.001 | A 0 0.155 0.081
black-phosphorus | c | .15 | 64 | 3.17 1.32 | A 0 0.1017 0.0806
alpha-uranium | m | .1 | 63 | 2.06 1.737 | A 0 0.1025 0.25
graphite | c | .1 | 194 | 1 2.72 | A 0 0 1/4; A 1/3 2/3 1/4
alpha-boron | c | .05 | 166 | 1 2.56 | A 0.1188 0.2376 0.8912; A 0.1968 0.3936 0.0242
beta-tungsten | m | .05 | 223 | 1 1 | A 0 0 0; A 1/4 0 1/2
rocksalt | +-,m | 3 | 225 | 1 1 | A 0 0 0; B 1/2 1/2 1/2
cesium-chloride | +-,m | 3 | 221 | 1 1 | A 0 0 0; B 1/2 1/2 1/2
zincblende | +- | 1.5 | 216 | 1 1 | A 0 0 0; B 1/4 1/4 1/4
wurtzite | +- | 1.2 | 186 | 1 1.62 | A 1/3 2/3 0; B 1/3 2/3 0.377
nickel-arsenide | +-,m | 1.2 | 194 | 1 1.45 | A 0 0 0; B 1/3 2/3 1/4
tungsten-carbide | m | .5 | 187 | 1 0.97 | A 0 0 0; B 1/3 2/3 1/2
L1_0 | m | 1.2 | 123 | 1 1.35 | A 0 0 0; B 1/2 1/2 1/2
sodium-thallide | m | .4 | 227 | 1 1 | A 0 0 0; B 1/2 1/2 1/2
litharge | +- | .3 | 129 | 1 1.27 | A 0 1/2 0.24; B 0 0 0
tin-sulfide | +- | .5 | 62 | 0.348 0.411 | A 0.1211 1/4 0.1056; B 0.8509 1/4 0.5029
manganese-phosphide | m | .6 | 62 | 0.603 1.125 | A 0.0049 1/4 0.1965; B 0.1878 1/4 0.5686
iron-silicide | m | .4 | 198 | 1 1 | A 0.137 0.137 0.137; B 0.842 0.842 0.842
chromium-boride | m | .9 | 63 | 2.65 0.987 | A 0 0.146 1/4; B 0 0.440 1/4
iron-boride | m | .6 | 62 | 0.536 0.738 | A 0.180 1/4 0.120; B 0.036 1/4 0.610
boron-nitride | +- | .1 | 194 | 1 2.66 | A 1/3 2/3 1/4; B 1/3 2/3 3/4
gallium-selenide | +- | .1 | 194 | 1 4.25 | A 1/3 2/3 0.175; B 1/3 2/3 0.602
cooperite | +- | .2 | 131 | 1 1.76 | A 0 1/2 0; B 0 0 1/4
fluorite | +-,-+ | 1.6 | 225 | 1 1 | A 0 0 0; B 1/4 1/4 1/4
rutile | +- | 1.2 | 136 | 1 0.65 | A 0 0 0; B 0.305 0.305 0
calcium-chloride | +- | .6 | 58 | 1.031 0.674 | A 0 0 0; B 0.275 0.325 0
anatase | +- | .4 | 141 | 1 2.51 | A 0 0 0; B 0 0 0.208
baddeleyite | +- | .4 | 14 | 1.012 1.031 90 99.2 90 | A 0.276 0.041 0.208; B 0.070 0.332 0.345; \
B 0.450 0.757 0.479
quartz | +- | .3 | 154 | 1 1.10 | A 0.470 0 2/3; B 0.4135 0.2669 0.7858
cristobalite | +- | .2 | 227 | 1 1 | A 0 0 0; B 1/8 1/8 1/8
cadmium-iodide | +- | 1.2 | 164 | 1 1.62 | A 0 0 0; B 1/3 2/3 1/4
cadmium-chloride | +- | .7 | 166 | 1 4.60 | A 0 0 0; B 0 0 0.252
anti-cadmium-chloride | +- | .3 | 166 | 1 5.20 | A 0 0 0.268; B 0 0 0
molybdenite | +- | .5 | 194 | 1 3.90 | A 1/3 2/3 1/4; B 1/3 2/3 0.621
pyrite | m | .3 | 205 | 1 1 | A 0 0 0; B 0.385 0.385 0.385
marcasite | m | .3 | 58 | 1.22 0.763 | A 0 0 0; B 0.200 0.378 0
aluminum-diboride | m | .9 | 191 | 1 1.08 | A 0 0 0; B 1/3 2/3 1/2
molybdenum-disilicide | m | .9 | 139 | 1 2.45 | A 0 0 0; B 0 0 0.333
calcium-carbide | m | .1 | 139 | 1 1.66 | A 0 0 0; B 0 0 0.405
laves-C15 | m | 1.2 | 227:2 | 1 1 | A 1/8 1/8 1/8; B 1/2 1/2 1/2
laves-C14 | m | .6 | 194 | 1 1.633 | A 1/3 2/3 0.062; B 0 0 0; B 0.830 0.660 1/4
cuprite | +- | .2 | 224:2 | 1 1 | A 0 0 0; B 1/4 1/4 1/4
theta-Al2Cu | m | .5 | 140 | 1 0.805 | A 0 0 1/4; B 0.158 0.658 0
nickel-indium | m | .5 | 194 | 1 1.22 | A 0 0 0; A 1/3 2/3 3/4; B 1/3 2/3 1/4
iron-phosphide | m | .5 | 189 | 1 0.59 | A 0.256 0 0; A 0.594 0 1/2; B 1/3 2/3 0; B 0 0 1/2
L1_2 | m | 1.5 | 221 | 1 1 | A 0 1/2 1/2; B 0 0 0
A15 | m | .6 | 223 | 1 1 | A 1/4 0 1/2; B 0 0 0
D0_3 | m,+- | .9 | 225 | 1 1 | A 1/4 1/4 1/4; A 1/2 1/2 1/2; B 0 0 0
D0_19 | m | .6 | 194 | 1 0.80 | A 0.833 0.666 1/4; B 1/3 2/3 1/4
D0_22 | m | .6 | 139 | 1 2.23 | A 0 0 1/2; A 0 1/2 1/4; B 0 0 0
rhenium-trioxide | +- | .5 | 221 | 1 1 | A 0 0 0; B 1/2 0 0
copper-nitride | +- | .15 | 221 | 1 1 | A 1/2 0 0; B 0 0 0
aluminum-fluoride | +- | .5 | 167 | 1 2.53 | A 0 0 0; B 0.430 0 1/4
uranium-trichloride | +- | .4 | 176 | 1 0.57 | A 1/3 2/3 1/4; B 0.375 0.292 1/4
sodium-arsenide | +- | .4 | 194 | 1 1.77 | A 0 0 1/4; A 1/3 2/3 0.583; B 1/3 2/3 1/4
lithium-nitride | +- | .1 | 191 | 1 1.06 | A 0 0 1/2; A 1/3 2/3 0; B 0 0 0
corundum | +- | .8 | 167 | 1 2.73 | A 0 0 0.352; B 0.306 0 1/4
lanthanum-oxide | +- | .5 | 164 | 1 1.56 | A 1/3 2/3 0.245; B 1/3 2/3 0.645; B 0 0 0
anti-lanthanum-oxide | +- | .4 | 164 | 1 1.58 | A 1/3 2/3 0.632; A 0 0 0; B 1/3 2/3 0.235
tetradymite | +- | .4 | 166 | 1 6.95 | A 0 0 0.400; B 0 0 0; B 0 0 0.209
calcium-pentacopper | m | .9 | 191 | 1 0.80 | A 0 0 0; B 1/3 2/3 0; B 1/2 0 1/2
calcium-hexaboride | m | .2 | 221 | 1 1 | A 0 0 0; B 0.202 1/2 1/2
skutterudite | m | .2 | 204 | 1 1 | A 1/4 1/4 1/4; B 0 0.335 0.158
nickel-molybdenum | m | .2 | 87 | 1 0.62 | A 0.200 0.400 0; B 0 0 0
perovskite | ++-,m | 5 | 221 | 1 1 | A 0 0 0; B 1/2 1/2 1/2; C 1/2 1/2 0
inverse-perovskite | +--,m | 1.5 | 221 | 1 1 | A 1/2 1/2 0; B 0 0 0; C 1/2 1/2 1/2
hexagonal-perovskite | ++- | 1 | 194 | 1 0.85 | A 1/3 2/3 3/4; B 0 0 0; C 0.148 0.296 1/4
tetragonal-perovskite | ++- | 1.2 | 99 | 1 1.05 | A 0 0 0; B 1/2 1/2 0.515; C 1/2 1/2 0.970; C \
1/2 0 0.480
tilted-perovskite | ++- | 1.2 | 140 | 1 1.42 | A 0 1/2 1/4; B 0 0 0; C 0 0 1/4; C 0.235 0.735 0
rhombohedral-perovskite | ++- | 1.2 | 167 | 1 2.44 | A 0 0 1/4; B 0 0 0; C 0.530 0 1/4
orthorhombic-perovskite | ++- | 2 | 62 | 1.40 0.975 | A 0.050 1/4 0.990; B 0 0 1/2; C 0.470 1/4 \
0.080; C 0.290 0.040 0.710
potassium-nickel-fluoride | ++- | 1.2 | 139 | 1 3.25 | A 0 0 0.355; B 0 0 0; C 0 1/2 0; C 0 0 \
0.158
infinite-layer | ++- | .3 | 123 | 1 0.86 | A 1/2 1/2 1/2; B 0 0 0; C 1/2 0 0
delafossite | ++- | .8 | 166 | 1 5.65 | A 0 0 0; B 0 0 1/2; C 0 0 0.108
layered-oxide | ++- | 1.5 | 166 | 1 5.00 | A 0 0 1/2; B 0 0 0; C 0 0 0.260
chalcopyrite | ++- | 1 | 122 | 1 1.97 | A 0 0 0; B 0 0 1/2; C 0.245 1/4 1/8
stannite | +++- | .8 | 121 | 1 1.97 | A 0 1/2 1/4; B 0 0 0; C 0 0 1/2; D 0.245 0.245 0.130
spinel | ++- | 1.6 | 227:2 | 1 1 | A 1/8 1/8 1/8; B 1/2 1/2 1/2; C 0.262 0.262 0.262
matlockite | +--,m | 1.5 | 129 | 1 1.78 | A 0 1/2 0.190; B 0 0 0; C 0 1/2 0.650
zirconium-cuprate-arsenide | ++--,m | 1.2 | 129 | 1 2.15 | A 0 1/2 0.140; B 0 0 1/2; C 0 1/2 \
0.660; D 0 0 0
thorium-chromium-silicide | m,++- | 4 | 139 | 1 2.60 | A 0 0 0; B 0 1/2 1/4; C 0 0 0.370
calcium-aluminum-silicide | ++-,m | 1 | 164 | 1 1.72 | A 0 0 0; B 1/3 2/3 0.630; C 1/3 2/3 0.260
max-phase-211 | m | 1 | 194 | 1 4.40 | A 1/3 2/3 0.086; B 1/3 2/3 3/4; C 0 0 0
half-heusler | m | 2.5 | 216 | 1 1 | A 1/4 1/4 1/4; B 0 0 0; C 1/2 1/2 1/2
full-heusler | m | 4 | 225 | 1 1 | A 1/4 1/4 1/4; B 0 0 0; C 1/2 1/2 1/2
inverse-heusler | m | 1.5 | 216 | 1 1 | A 0 0 0; A 1/4 1/4 1/4; B 1/2 1/2 1/2; C 3/4 3/4 3/4
elpasolite | +++- | 3 | 225 | 1 1 | A 1/4 1/4 1/4; B 0 0 0; C 1/2 1/2 1/2; D 0.245 0 0
potassium-hexachloroplatinate | ++- | 1.2 | 225 | 1 1 | A 1/4 1/4 1/4; B 0 0 0; C 0.240 0 0
zirconium-beryllium-silicide | m,++- | .8 | 194 | 1 1.85 | A 0 0 0; B 1/3 2/3 1/4; C 1/3 2/3 3/4
zirconium-nickel-aluminide | m | 3 | 189 | 1 0.52 | A 0.590 0 1/2; B 1/3 2/3 1/2; B 0 0 0; C \
0.250 0 0
ilmenite | ++- | .9 | 148 | 1 2.77 | A 0 0 0.355; B 0 0 0.146; C 0.317 0.023 0.245
lithium-niobate | ++- | .7 | 161 | 1 2.69 | A 0 0 0.280; B 0 0 0; C 0.048 0.343 0.063
calcite | ++- | .6 | 167 | 1 3.42 | A 0 0 0; B 0 0 1/4; C 0.257 0 1/4
scheelite | ++- | .8 | 88 | 1 2.17 | A 0 0 1/2; B 0 0 0; C 0.241 0.151 0.086
zircon | ++- | .6 | 141:2 | 1 0.905 | A 0 3/4 1/8; B 0 1/4 3/8; C 0 0.066 0.195
thallium-indium-selenide | ++- | .4 | 140 | 1 0.85 | A 0 0 1/4; B 0 1/2 1/4; C 0.180 0.680 0
cerium-cobalt-indium | m | .8 | 123 | 1 1.63 | A 0 0 0; B 0 0 1/2; C 1/2 1/2 0; C 0 1/2 0.305
copper-antimonide | m | .6 | 129 | 1 1.52 | A 0 0 0; A 0 1/2 0.27; B 0 1/2 0.70
barium-aluminide | m | .6 | 139 | 1 2.45 | A 0 0 0; B 0 1/2 1/4; B 0 0 0.38
calcium-beryllium-germanide | m | 1 | 129 | 1 2.40 | A 0 1/2 0.25; B 0 0 0; B 0 1/2 0.63; C 0 0 \
1/2; C 0 1/2 0.87
barium-nickel-stannide | m | .8 | 107 | 1 2.30 | A 0 0 0; B 0 0 0.65; C 0 0 0.42; C 0 1/2 0.25
titanium-nickel-silicide | m,++- | 3 | 62 | 0.597 1.14 | A 0.02 1/4 0.18; B 0.14 1/4 0.56; C \
0.77 1/4 0.62
cotunnite | m,+- | 1.2 | 62 | 0.604 1.144 | A 0.24 1/4 0.11; B 0.355 1/4 0.427; B 0.975 1/4 0.676
lithium-gallium-germanide | m,++- | 1 | 186 | 1 1.65 | A 0 0 0; B 1/3 2/3 0.22; C 1/3 2/3 0.78
molybdenum-iron-boride | m | 1.8 | 127 | 1 0.52 | A 0.175 0.675 1/2; B 0 0 0; C 0.388 0.888 0
uranium-silicide | m | .4 | 127 | 1 0.53 | A 0.181 0.681 1/2; A 0 0 0; B 0.389 0.889 0
tungsten-cobalt-boride | m | 1 | 71 | 0.645 0.449 | A 0.205 1/2 0; B 0 0 0; C 0 0.30 1/2
manganese-aluminum-boride | m | .7 | 65 | 3.79 0.99 | A 0 0.355 1/2; B 0 0 0; C 0 0.21 0
cerium-nickel-silicide | m | 1 | 63 | 3.96 0.983 | A 0 0.107 1/4; B 0 0.316 1/4; C 0 0.457 1/4; \
C 0 0.749 1/4
cerium-cobalt-boride | m | .8 | 191 | 1 0.60 | A 0 0 0; B 1/2 0 1/2; C 1/3 2/3 0
hafnium-iron-germanide | m | .6 | 191 | 1 1.59 | A 0 0 0; B 1/2 0 1/4; C 1/3 2/3 0; C 1/3 2/3 \
1/2; C 0 0 0.345
thorium-manganese | m | .5 | 139 | 1 0.55 | A 0 0 0; B 1/4 1/4 1/4; B 0.36 0 0; B 0.28 1/2 0
gold-beryllium | m | .5 | 216 | 1 1 | A 0 0 0; B 1/4 1/4 1/4; B 5/8 5/8 5/8
magnesium-tin-copper | m | .8 | 216 | 1 1 | A 0 0 0; B 1/4 1/4 1/4; C 5/8 5/8 5/8
manganese-silicide | m | .6 | 193 | 1 0.70 | A 1/3 2/3 0; A 0.236 0 1/4; B 0.60 0 1/4
hafnium-copper-stannide | m | .5 | 193 | 1 0.70 | A 1/3 2/3 0; A 0.236 0 1/4; B 0.60 0 1/4; C 0 \
0 0
chromium-triboride | m | .4 | 140 | 1 1.90 | A 0 0 0; A 0.166 0.666 0.14; B 0 0 1/4; B 0.375 \
0.875 0
cobalt-stannide | m | .3 | 191 | 1 0.80 | A 1/2 0 0; B 0 0 0; B 1/3 2/3 1/2
titanium-silicide | m | .3 | 70 | 0.58 1.035 | A 0 0 0; B 0.3365 0 0
zirconium-silicide | m | .5 | 63 | 3.95 0.984 | A 0 0.102 1/4; B 0 0.751 1/4; B 0 0.439 1/4
molybdenum-platinum | m | .4 | 71 | 3.0 1.43 | A 0 0 0; B 0 1/3 0
thorium-silicide | m | .4 | 141 | 1 3.40 | A 0 0 0; B 0 0 0.4165
lanthanum-platinum-silicide | m | .7 | 109 | 1 3.40 | A 0 0 0; B 0 0 0.585; C 0 0 0.417
lithium-barium-silicide | m | .5 | 187 | 1 1.10 | A 0 0 0; B 1/3 2/3 1/2; C 2/3 1/3 1/2
cerium-scandium-silicide | m | .5 | 139 | 1 3.66 | A 0 0 0.325; B 0 1/2 0; C 0 0 0.13
cerium-oxysulfide | +-- | .5 | 164 | 1 1.70 | A 1/3 2/3 0.28; B 0 0 0; C 1/3 2/3 0.63
thallium-iodide | +-,m | .4 | 63 | 2.82 1.146 | A 0 0.39 1/4; B 0 0.13 1/4
bismuth-iodide | +- | .5 | 148 | 1 2.75 | A 0 0 0.17; B 0.342 0.010 0.0805
aluminum-chloride | +- | .4 | 12 | 1.73 1.04 90 108 90 | A 0 0.167 0; B 0.226 0 0.219; B 0.250 \
0.178 0.781
tysonite | +- | .3 | 165 | 1 1.024 | A 0.66 0 1/4; B 0 0 1/4; B 1/3 2/3 0.187; B 0.366 0.054 \
0.081
yttrium-fluoride | +- | .3 | 62 | 1.079 0.691 | A 0.368 1/4 0.058; B 0.522 1/4 0.59; B 0.165 \
0.063 0.378
plutonium-bromide | +- | .3 | 63 | 3.08 2.23 | A 0 0.75 1/4; B 0 0.07 1/4; B 0 0.36 0.95
bixbyite | +- | .4 | 206 | 1 1 | A 1/4 1/4 1/4; A 0.97 0 1/4; B 0.39 0.15 0.38
tin-fluoride | +- | .3 | 139 | 1 1.96 | A 0 0 0; B 0 1/2 0; B 0 0 0.237
lithium-zirconium-fluoride | ++- | .5 | 162 | 1 0.93 | A 1/3 2/3 1/2; B 0 0 0; C 0.33 0 0.25
potassium-germanium-fluoride | ++- | .9 | 164 | 1 0.83 | A 1/3 2/3 0.70; B 0 0 0; C 0.148 0.852 \
0.22
trirutile | ++- | .6 | 136 | 1 1.98 | A 0 0 0; B 0 0 0.333; C 0.31 0.31 0; C 0.30 0.30 0.33
wolframite | ++- | .7 | 13 | 1.19 1.035 90 91 90 | A 1/2 0.685 1/4; B 0 0.18 1/4; C 0.211 0.102 \
0.943; C 0.250 0.374 0.393
calcium-ferrite | ++- | .5 | 62 | 0.327 1.16 | A 0.76 1/4 0.65; B 0.43 1/4 0.61; B 0.42 1/4 \
0.11; C 0.21 1/4 0.16; C 0.12 1/4 0.475; C 0.52 1/4 0.78; C 0.42 1/4 0.43
olivine | ++- | .9 | 62 | 0.583 0.456 | A 0 0 0; A 0.28 1/4 0.98; B 0.095 1/4 0.42; C 0.095 1/4 \
0.75; C 0.455 1/4 0.21; C 0.165 0.035 0.29
triphylite | +++- | 1 | 62 | 0.583 0.456 | A 0 0 0; B 0.28 1/4 0.98; C 0.095 1/4 0.42; D 0.095 \
1/4 0.75; D 0.455 1/4 0.21; D 0.165 0.035 0.29
monazite | ++- | .7 | 14 | 1.034 1.212 90 130.1 90 | A 0.18 0.84 0.9; B 0.69 0.84 0.39; C 0.81 0 \
0.56; C 0.88 0.67 0.5; C 0.67 0.89 0.2; C 0.42 0.785 0.29
barite | ++- | .6 | 62 | 0.614 0.806 | A 0.185 1/4 0.158; B 0.437 1/4 0.691; C 0.587 1/4 0.607; \
C 0.318 1/4 0.550; C 0.419 0.030 0.812
pyrochlore | ++- | 1 | 227:2 | 1 1 | A 1/2 1/2 1/2; B 0 0 0; C 0.335 1/8 1/8; C 3/8 3/8 3/8
garnet | +++- | .6 | 230 | 1 1 | A 1/8 0 1/4; B 0 0 0; C 3/8 0 1/4; D 0.97 0.05 0.15
arcanite | ++- | .7 | 62 | 0.77 1.343 | A 0.67 1/4 0.41; A 0.99 1/4 0.705; B 0.233 1/4 0.42; C \
0.04 1/4 0.42; C 0.30 1/4 0.56; C 0.30 0.04 0.35
potassium-chloroplatinite | ++- | .5 | 123 | 1 0.59 | A 0 1/2 1/2; B 0 0 0; C 0.23 0.23 0
ruddlesden-popper | ++- | .7 | 139 | 1 5.2 | A 0 0 1/2; A 0 0 0.315; B 0 0 0.0975; C 0 0 0; C 0 \
0 0.195; C 0 1/2 0.095
cesium-bismuth-bromide | ++- | .4 | 164 | 1 1.24 | A 0 0 0; A 1/3 2/3 0.67; B 1/3 2/3 0.19; C \
1/2 0 0; C 0.168 0.832 0.335
sodium-ferrite | ++- | .6 | 33 | 1.25 0.95 | A 0.42 0.13 0.50; B 0.07 0.125 0; C 0.06 0.09 0.37; \
C 0.38 0.16 0.90
lithium-ferrite | ++- | .5 | 141 | 1 2.15 | A 0 0 0; B 0 0 1/2; C 0 0 1/4
cesium-phosphorus-fluoride | ++- | .5 | 225 | 1 1 | A 0 0 0; B 1/2 1/2 1/2; C 0.27 0 0
cryolite | ++- | .5 | 14 | 1.037 1.748 90 124.7 90 | A 0.5 0 0.5; A 0.265 0.05 0.755; B 0 0 0; C \
0.88 0.955 0.78; C 0.68 0.825 0.955; C 0.225 0.73 0.06
monoclinic-double-perovskite | +++- | 1.5 | 14 | 1.009 1.734 90 125.0 90 | A 0.26 0.045 0.75; B \
0.5 0 0.5; C 0 0 0; D 0.855 0.96 0.765; D 0.68 0.795 0.955; D 0.25 0.725 0.045
post-perovskite | ++- | .8 | 63 | 3.14 2.32 | A 0 0.75 1/4; B 0 0 0; C 0 0.08 1/4; C 0 0.365 \
0.055
ammonium-cadmium-chloride | ++- | .8 | 62 | 0.45 1.67 | A 0.425 1/4 0.83; B 0.165 1/4 0.055; C \
0.275 1/4 0.21; C 0.165 1/4 0.495; C 0.03 1/4 0.90
enargite | ++- | .5 | 31 | 0.869 0.83 | A 0 0.15 0.50; A 0.247 0.325 0.01; B 0 0.83 0; C 0 0.83 \
0.36; C 0 0.14 0.89; C 0.26 0.337 0.39
sulvanite | ++- | .5 | 215 | 1 1 | A 1/2 0 0; B 0 0 0; C 0.24 0.24 0.24
famatinite | ++- | .4 | 121 | 1 1.97 | A 0 0 1/2; A 0 1/2 1/4; B 0 0 0; C 0.245 0.245 0.13
defect-chalcopyrite | ++- | .5 | 82 | 1 1.9 | A 0 0 0; B 0 0 1/2; B 0 1/2 1/4; C 0.26 0.24 0.14
kawazulite | +-- | .3 | 166 | 1 6.95 | A 0 0 0.400; B 0 0 0; C 0 0 0.209
bismuth-telluroiodide | +-- | .4 | 156 | 1 1.60 | A 0 0 0; B 1/3 2/3 0.27; C 2/3 1/3 0.73
kesterite | +++- | .6 | 82 | 1 1.97 | A 0 0 0; A 0 1/2 1/4; B 0 1/2 3/4; C 0 0 1/2; D 0.245 \
0.245 0.13
filled-zincblende | ++- | .6 | 216 | 1 1 | A 1/4 1/4 1/4; B 3/4 3/4 3/4; C 0 0 0
"""
